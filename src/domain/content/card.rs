//! Address-book entries.

use serde::{Deserialize, Serialize};

/// An address-book entry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContactCard {
    /// The name.
    pub name: CardName,
    /// Telephone numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phones: Vec<CardPhone>,
    /// E-mail addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<CardEmail>,
    /// Postal addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<CardAddress>,
    /// Where the person works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<CardOrganization>,
    /// Web addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<CardUrl>,
    /// `YYYY-MM-DD`; empty when not given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub birthday: String,
}

macro_rules! card_part {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$field_doc])* #[serde(skip_serializing_if = "String::is_empty")] pub $field: String,)+
        }
    };
}

card_part! {
    /// A name and its parts.
    CardName {
        /// The whole name, as shown.
        formatted_name,
        /// Given name.
        first_name,
        /// Family name.
        last_name,
        /// Names between.
        middle_name,
        /// `Dr.`
        prefix,
        /// `Jr.`
        suffix,
    }
}
card_part! {
    /// A telephone number of a card.
    CardPhone {
        /// The number, in any form.
        phone,
        /// `CELL`, `WORK`, …
        r#type,
        /// Its WhatsApp id, when known.
        wa_id,
    }
}
card_part! {
    /// An e-mail address of a card.
    CardEmail {
        /// The address.
        email,
        /// `WORK`, …
        r#type,
    }
}
card_part! {
    /// A postal address of a card.
    CardAddress {
        /// Street and number.
        street,
        /// City.
        city,
        /// State or region.
        state,
        /// Postal code.
        zip,
        /// Country.
        country,
        /// Two letters.
        country_code,
        /// `HOME`, `WORK`.
        r#type,
    }
}
card_part! {
    /// Where a person works.
    CardOrganization {
        /// Company.
        company,
        /// Department.
        department,
        /// What the person is there.
        title,
    }
}
card_part! {
    /// A web address of a card.
    CardUrl {
        /// The address.
        url,
        /// `WORK`, …
        r#type,
    }
}
