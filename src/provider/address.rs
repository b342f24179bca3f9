//! Addresses of providers' APIs, as operators give them.

use url::Url;

use crate::error::Reason;

/// The address that paths are put behind. `example` is what would be right.
///
/// # Errors
/// What is wrong with it, for the field that it came from.
pub fn base(given: &str, example: &str) -> Result<Url, (Reason, String)> {
    let invalid = |why: &str| (Reason::Invalid, format!("{why}; right would be {example}"));
    let url = Url::parse(given).map_err(|error| invalid(&format!("not an address: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("not an http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("credentials do not belong into the address"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("an address with a query has no paths below it"));
    }
    Ok(url)
}

/// A path below the base, which may itself have one. Each part between slashes is encoded where it must be.
pub fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/').filter(|part| !part.is_empty()));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "https://api.example.test";

    #[test]
    fn addresses_that_could_not_work_are_refused() {
        for given in
            ["", "x", "https://", "https://user@h", "https://:pw@h", "https://h/?a=b", "https://h/#a", "data:,x"]
        {
            let (reason, words) = base(given, EXAMPLE).unwrap_err();
            assert!(reason == Reason::Invalid && words.contains(EXAMPLE), "{given}");
        }
        base("http://127.0.0.1:9000/devino", EXAMPLE).unwrap();
    }

    #[test]
    fn paths_go_below_any_base() {
        for (base, joined) in [
            ("https://api.example.test", "https://api.example.test/whatsapp/messages"),
            ("https://api.example.test/", "https://api.example.test/whatsapp/messages"),
            ("http://127.0.0.1:9000/devino", "http://127.0.0.1:9000/devino/whatsapp/messages"),
            ("http://127.0.0.1:9000/devino/", "http://127.0.0.1:9000/devino/whatsapp/messages"),
        ] {
            assert_eq!(below(&Url::parse(base).unwrap(), "/whatsapp/messages").as_str(), joined);
            assert_eq!(below(&Url::parse(base).unwrap(), "whatsapp/messages").as_str(), joined);
        }
        assert_eq!(below(&Url::parse(EXAMPLE).unwrap(), "a b/../c?d").as_str(), "https://api.example.test/a%20b/c%3Fd");
    }
}
