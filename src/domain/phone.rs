//! Telephone numbers: checked by libphonenumber's rules, kept as given.

use std::str::FromStr;

use phonenumber::metadata::DATABASE;
use serde::{Deserialize, Serialize};

use crate::error::Reason;

/// A number that can be written to. What the caller gave is never rewritten; the digits are what numbers are compared by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneNumber {
    /// As the caller gave it.
    pub given: String,
    /// E.164 without the plus: country code and number, 7 to 15 digits.
    pub digits: String,
}

impl PhoneNumber {
    /// With a plus, as people write it.
    pub fn e164(&self) -> String {
        format!("+{}", self.digits)
    }

    /// What conversations are kept by and filters compare: see [`peer_of`].
    pub fn peer(&self) -> String {
        peer_of(&self.digits)
    }

    /// The digits of a number that a provider gave (`+`, `00`, blanks and dashes dropped); nothing that could not be a
    /// number. Providers' numbers are not judged by the numbering plan: whoever wrote to us exists.
    pub fn digits_of(text: &str) -> Option<String> {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let digits = match text.trim_start().starts_with("00") {
            true => digits.trim_start_matches('0').to_owned(),
            false => digits,
        };
        let plain = |c: char| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '(' | ')' | '.');
        (text.chars().all(plain) && (5..=15).contains(&digits.len())).then_some(digits)
    }
}

impl FromStr for PhoneNumber {
    type Err = (Reason, String);

    /// Takes E.164 with or without `+`: digits only, no blanks, no national form. A number of the right length for its
    /// country passes even when its range is not in the numbering plan that this build knows: plans change weekly.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        if digits.is_empty() {
            return Err((Reason::Required, "a number is needed, in E.164: '+5511987654321' or '5511987654321'".into()));
        }
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err((
                Reason::Invalid,
                "not E.164: digits with country code, at most one '+' in front, nothing else".into(),
            ));
        }
        match digits.len() {
            0..7 => {
                return Err((
                    Reason::TooShort,
                    format!("{} digits; a number has at least 7 with its country code", digits.len()),
                ));
            }
            16.. => {
                return Err((Reason::TooLong, format!("{} digits; E.164 has at most 15", digits.len())));
            }
            _ => {}
        }
        let Some(code) = CountryCode::of(digits) else {
            return Err((Reason::Invalid, "no country's numbers begin like this; give country code and number".into()));
        };
        if !code.has_length(digits.len() - code.digits) {
            return Err((
                Reason::Invalid,
                format!("no number of country code +{} has {} digits after it", code.code, digits.len() - code.digits),
            ));
        }
        Ok(Self { given: text.to_owned(), digits: digits.to_owned() })
    }
}

/// One form for all the ways to write a number, digits only: what is matched, never what is shown or called. WhatsApp and
/// the providers write some numbers otherwise than people do (pitfalls I16, I17):
///
/// - Brazil: mobiles have nine digits since 2016, and WhatsApp left the ninth out for whoever registered before, mostly with
///   area codes above 30. Eight digits that begin with 6 to 9 are such a mobile; landlines begin with 2 to 5.
/// - Argentina: mobiles have a 9 after the country code from abroad, and none at home.
/// - Mexico: mobiles had a 1 after the country code until 2019, and WhatsApp kept it.
pub fn peer_of(digits: &str) -> String {
    match digits.as_bytes() {
        [b'5', b'5', b'1'..=b'9', b'1'..=b'9', b'6'..=b'9', ..] if digits.len() == 12 => {
            format!("{}9{}", &digits[..4], &digits[4..])
        }
        [b'5', b'4', b'9', ..] if digits.len() == 13 => format!("54{}", &digits[3..]),
        [b'5', b'2', b'1', ..] if digits.len() == 13 => format!("52{}", &digits[3..]),
        _ => digits.to_owned(),
    }
}

/// The other ways to write a number, digits only; none for most.
pub fn variants_of(digits: &str) -> Vec<String> {
    let peer = peer_of(digits);
    let other = match peer.as_bytes() {
        [b'5', b'5', b'1'..=b'9', b'1'..=b'9', b'9', b'6'..=b'9', ..] if peer.len() == 13 => {
            Some(format!("{}{}", &peer[..4], &peer[5..]))
        }
        [b'5', b'4', ..] if peer.len() == 12 => Some(format!("549{}", &peer[2..])),
        [b'5', b'2', ..] if peer.len() == 12 => Some(format!("521{}", &peer[2..])),
        _ => None,
    };
    [Some(peer), other].into_iter().flatten().filter(|variant| variant != digits).collect()
}

/// A country calling code, from libphonenumber's tables. Only lengths are asked of them: numbering plans open new ranges
/// weekly, and whether a number has WhatsApp only WhatsApp knows.
struct CountryCode {
    code: u16,
    digits: usize,
}

impl CountryCode {
    /// Codes are prefix-free, so the first that matches is the one.
    fn of(number: &str) -> Option<Self> {
        (1..=3).find_map(|digits| {
            let code = number.get(..digits).filter(|code| !code.starts_with('0'))?.parse().ok()?;
            DATABASE.region(&code).map(|_| Self { code, digits })
        })
    }

    /// Whether some region of the code has numbers of that length.
    fn has_length(&self, length: usize) -> bool {
        // Mexico wrote mobiles with a 1 after the country code until 2019, and WhatsApp still does (pitfall I17).
        if (self.code, length) == (52, 11) {
            return true;
        }
        let regions = DATABASE.by_code(&self.code).unwrap_or_default();
        regions.iter().any(|region| {
            let kinds = region.descriptors();
            // libphonenumber's general entry is empty in this build of its tables; the kinds have the lengths.
            let some = [kinds.fixed_line(), kinds.mobile(), kinds.toll_free(), kinds.voip(), kinds.uan()];
            let all = some.into_iter().flatten().chain([kinds.general()]);
            all.flat_map(|kind| kind.possible_length()).any(|&possible| usize::from(possible) == length)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, Reason> {
        text.parse::<PhoneNumber>().map(|n| n.digits).map_err(|(reason, _)| reason)
    }

    #[test]
    fn e164_passes_with_and_without_plus_and_is_kept_as_given() {
        for (given, digits) in [
            ("+5511987654321", "5511987654321"), // Brazil, mobile with the ninth digit
            ("551187654321", "551187654321"),    // and without
            ("+551140001000", "551140001000"),   // landline
            ("+5491123456789", "5491123456789"), // Argentina, mobile form
            ("+5215512345678", "5215512345678"), // Mexico, the old mobile form
            ("+351910000001", "351910000001"),
            ("+14155550123", "14155550123"),
            ("+390612345678", "390612345678"), // Italy keeps its leading zero
            ("+4915112345678", "4915112345678"),
        ] {
            let number: PhoneNumber = given.parse().unwrap_or_else(|e| panic!("{given}: {e:?}"));
            assert_eq!((number.given.as_str(), number.digits.as_str()), (given, digits));
        }
    }

    #[test]
    fn what_is_not_e164_is_refused_with_its_reason() {
        for (given, reason) in [
            ("", Reason::Required),
            ("+", Reason::Required),
            ("abc", Reason::Invalid),
            ("++5511987654321", Reason::Invalid),
            ("+55 11 98765-4321", Reason::Invalid),
            ("+5511", Reason::TooShort),
            ("+5511987", Reason::Invalid),
            ("+3519100000010", Reason::Invalid),
            ("+5511987654321012", Reason::TooLong),
            ("+99911122233", Reason::Invalid),
            ("0011987654321", Reason::Invalid),
            ("+５５１１９８７６５４３２１", Reason::Invalid),
        ] {
            assert_eq!(parse(given), Err(reason), "{given}");
        }
    }

    #[test]
    fn i16_i17_all_ways_to_write_a_number_are_one_peer() {
        // The ways to write one number; and numbers that look alike and are others.
        for ways in [
            &["5531987654321", "553187654321"][..], // Brazil, area code above 30: WhatsApp drops the ninth digit
            &["5511987654321", "551187654321"],     // and below, where it mostly keeps it
            &["551140001000"],                      // landlines have eight digits, and nothing is added
            &["553132345678"],
            &["5511943216789"], // a mobile whose last eight digits look like a landline's
            &["551143216789"],  // that landline
            &["558007654321"],  // 0800, which has no area code
            &["5508007654321"],
            &["5491123456789", "541123456789"], // Argentina
            &["5215512345678", "525512345678"], // Mexico
            &["351910000001"],
            &["14155550123"],
            &["5219"],
            &[""],
        ] {
            let peers: Vec<String> = ways.iter().map(|way| peer_of(way)).collect();
            assert!(peers.iter().all(|peer| *peer == peers[0]), "{ways:?}: {peers:?}");
            assert_eq!(peer_of(&peers[0]), peers[0], "{ways:?}");
            for way in ways {
                let others: Vec<&str> = ways.iter().copied().filter(|other| other != way).collect();
                assert_eq!(variants_of(way), others, "{way}");
            }
        }
        assert_ne!(peer_of("5511943216789"), peer_of("551143216789"));
        assert_ne!(peer_of("5531987654321"), peer_of("5532987654321"));
    }

    #[test]
    fn digits_of_takes_what_providers_write() {
        for (given, digits) in [
            ("351910000001", Some("351910000001")),
            ("+351 910 000-001", Some("351910000001")),
            ("00351910000001", Some("351910000001")),
            ("AcmeCare", None),
            ("", None),
            ("BR.13491208655302741918", None),
        ] {
            assert_eq!(PhoneNumber::digits_of(given).as_deref(), digits, "{given}");
        }
    }
}
