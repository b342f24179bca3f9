use std::ffi::OsString;
use std::io::Write as _;

use super::*;

const HEX_KEY: &str = "0123456789012345678901234567890123456789012345678901234567890123";

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn read(file: &str, variables: &[(&str, &str)], mut flags: Flags) -> Result<Config, ConfigError> {
    let mut place = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    place.write_all(file.as_bytes()).unwrap();
    flags.config = Some(place.path().to_owned());
    let config = Layers::read(&flags, environment(variables))?.config()?;
    config.check()?;
    Ok(config)
}

fn refused(file: &str, variables: &[(&str, &str)], flags: Flags) -> String {
    read(file, variables, flags).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_what_the_contract_says_and_fit_together() {
    let config = Config::default();
    config.check().unwrap();
    assert_eq!(config.grpc_addr.to_string(), "127.0.0.1:50051");
    assert_eq!(config.http_addr.to_string(), "127.0.0.1:8080");
    assert_eq!(config.database_url.expose_secret(), "sqlite://recado.db");
    assert!(config.master_key.is_none() && config.admin_key.is_none() && config.public_url.is_none());
    assert_eq!(config.engine.retry_cap, Duration::from_secs(15 * 60));
    assert_eq!((config.engine.in_flight, config.events.ring, config.webhook.body_limit), (1024, 8192, 3 << 20));
}

#[test]
fn the_later_layer_wins_and_the_source_is_told() {
    let file = "grpc_addr = '127.0.0.1:1'\nhttp_addr = '127.0.0.1:2'\n[engine]\ncall_limit = '1s'\nlease = '7s'";
    let variables = [("RECADO_HTTP_ADDR", "127.0.0.1:3"), ("RECADO_ENGINE__CALL_LIMIT", "2s"), ("HOME", "/")];
    let flags = Flags::default().with("engine.call_limit", "3s");
    let config = read(file, &variables, flags.clone()).unwrap();
    assert_eq!(config.grpc_addr.port(), 1);
    assert_eq!(config.http_addr.port(), 3);
    assert_eq!(config.engine.call_limit, Duration::from_secs(3));
    assert_eq!(config.engine.lease, Duration::from_secs(7));
    assert_eq!(config.engine.drain, Duration::from_secs(25));

    let place = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(place.path(), file).unwrap();
    let named = OsString::from(place.path());
    let variables = environment(&variables).into_iter().chain([("RECADO_CONFIG".into(), named)]);
    let explained = Layers::read(&flags, variables).unwrap().explain();
    let of = |key: &str| explained.iter().find(|line| line.key == key).unwrap();
    assert_eq!(of("grpc_addr").source, place.path().display().to_string());
    assert_eq!(of("http_addr").source, "RECADO_HTTP_ADDR");
    assert_eq!((&*of("engine.call_limit").value, &*of("engine.call_limit").source), ("3s", "--engine-call-limit"));
    assert_eq!((&*of("engine.drain").value, &*of("engine.drain").source), ("25s", "default"));
    assert_eq!(of("events.ring").value, "8192");
    assert_eq!(of("admin_key").value, "(not set)");
}

#[test]
fn a_typo_is_refused_with_its_source_and_what_was_meant() {
    let error = refused("grcp_addr = '127.0.0.1:1'\n[engine]\nleese = '1s'\n[engin]\na = 1", &[], Flags::default());
    assert!(
        error.contains("grcp_addr (/") && error.contains(".toml) is no setting; did you mean grpc_addr?"),
        "{error}"
    );
    assert!(error.contains("engine.leese (/") && error.contains("did you mean engine.lease?"), "{error}");
    assert!(error.contains("engin (/"), "{error}");

    let error = refused("", &[("RECADO_ENGINE_LEASE", "1s"), ("RECADO_COLOUR", "red")], Flags::default());
    assert!(error.contains("RECADO_ENGINE_LEASE is no setting; did you mean RECADO_ENGINE__LEASE?"), "{error}");
    assert!(
        error.contains("RECADO_COLOUR is no setting\n") || error.ends_with("RECADO_COLOUR is no setting"),
        "{error}"
    );
}

#[test]
fn what_kubernetes_and_the_client_commands_set_is_no_typo() {
    let variables = [
        ("RECADO_SERVICE_HOST", "10.0.0.1"),
        ("RECADO_SERVICE_PORT_GRPC", "50051"),
        ("RECADO_PORT", "tcp://10.0.0.1:50051"),
        ("RECADO_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("RECADO_HTTP_SERVICE_HOST", "10.0.0.2"),
        ("RECADO_HTTP_PORT", "tcp://10.0.0.2:8080"),
        ("RECADO_HTTP_PORT_8080_TCP", "tcp://10.0.0.2:8080"),
        ("RECADO_SERVER", "http://127.0.0.1:50051"),
        ("RECADO_API_KEY", "x"),
    ];
    read("", &variables, Flags::default()).unwrap();
}

#[test]
fn secrets_that_look_like_numbers_stay_text() {
    let variables = [("RECADO_ADMIN_KEY", "12345"), ("RECADO_MASTER_KEY", HEX_KEY), ("RECADO_EVENTS__RING", "64")];
    let config = read("", &variables, Flags::default()).unwrap();
    assert_eq!(config.admin_key.unwrap().expose_secret(), "12345");
    assert_eq!(config.master_key.unwrap().expose_secret(), HEX_KEY);
    assert_eq!(config.events.ring, 64);
    for odd in ["true", "1e5", "[1]", "{a=1}", "0012", "\"q\""] {
        let config = read("", &[("RECADO_ADMIN_KEY", odd)], Flags::default()).unwrap();
        assert_eq!(config.admin_key.unwrap().expose_secret(), odd);
    }
}

#[test]
fn secrets_are_never_shown() {
    let secret = "s3cr3t-s3cr3t";
    let database = format!("postgres://me:{secret}@db/recado");
    let variables =
        [("RECADO_ADMIN_KEY", secret), ("RECADO_MASTER_KEY", HEX_KEY), ("RECADO_DATABASE_URL", database.as_str())];
    let layers = Layers::read(&Flags::default(), environment(&variables)).unwrap();
    let explained = format!("{:?}", layers.explain());
    let debug = format!("{:?}", layers.config().unwrap());
    for text in [&explained, &debug] {
        assert!(!text.contains(secret) && !text.contains(HEX_KEY), "{text}");
    }
    assert!(explained.contains("postgres://me:****@db/recado"), "{explained}");
    assert!(explained.contains("(hidden)"), "{explained}");

    for (file, variables) in [
        ("admin_key = 4815162342", [("A", "")]),
        ("admin_key = 's3cr3t", [("A", "")]),
        ("master_key = 's3cr3t'", [("A", "")]),
        ("", [("RECADO_ADMIN_KEY", "s3cr3t with a space")]),
        ("", [("RECADO_DATABASE_URL", "mysql://me:s3cr3t@db/x")]),
        ("", [("RECADO_DATABASE_URL", "postgres://me:s3cr3t/#@db/x")]),
    ] {
        let error = refused(file, &variables, Flags::default());
        assert!(!error.contains("4815162342") && !error.contains("s3cr3t"), "{error}");
    }
}

#[test]
fn passwords_in_a_database_address_are_hidden() {
    for (url, shown) in [
        ("sqlite://recado.db", "sqlite://recado.db"),
        ("sqlite::memory:", "sqlite::memory:"),
        ("postgres://db/recado", "postgres://db/recado"),
        ("postgres://me:pass@db/recado?sslmode=require", "postgres://me:****@db/recado?sslmode=require"),
        ("postgres://db/recado?user=me&password=pass", "postgres://db/recado?user=me&password=****"),
        ("postgres://me:pa/ss@db/recado", "(hidden)"),
        ("postgres://me:12#ss@db/recado", "(hidden)"),
        ("nonsense", "(hidden)"),
    ] {
        assert_eq!(redact(url), shown, "{url}");
    }
}

/// Pitfall O5.
#[test]
fn o5_a_lease_that_is_not_longer_than_the_call_is_refused() {
    let error = refused("[engine]\nlease = '30s'", &[], Flags::default());
    assert!(error.contains("engine.lease is 30s and engine.call_limit is 30s"), "{error}");
    read("[engine]\nlease = '31s'", &[], Flags::default()).unwrap();
}

#[test]
fn what_does_not_fit_together_is_named_all_at_once() {
    let file = "grpc_addr = '127.0.0.1:7'\nhttp_addr = '127.0.0.1:7'\npublic_url = 'ftp://x'\n\
                database_url = 'postgres://db/x'\n[events]\nring = 15\n[tls]\nkey = 'k.pem'\n\
                [log]\nlevel = 'loud'\n[templates]\nrefresh_interval = '1s'\n[engine]\nretry_first = '2h'\nin_flight = 0";
    let error = refused(file, &[], Flags::default());
    for part in [
        "grpc_addr and http_addr are both 127.0.0.1:7",
        "public_url",
        "master_key is required with PostgreSQL",
        "events.ring is 15; it must be 16 to 1000000",
        "tls.key is set and tls.certificate is not",
        "log.level",
        "templates.refresh_interval is 1s; it must be 10s or longer",
        "engine.retry_cap",
        "engine.in_flight",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_value_that_cannot_be_read_is_named_with_its_key_and_source() {
    for (key, env, value, part) in [
        ("grpc_addr", "RECADO_GRPC_ADDR", "here", "is no address and port, such as"),
        ("engine.lease", "RECADO_ENGINE__LEASE", "60", "is no duration, such as"),
        ("log.format", "RECADO_LOG__FORMAT", "xml", "auto"),
        ("events.ring", "RECADO_EVENTS__RING", "many", "must be a whole number, such as 8192"),
        ("engine.in_flight", "RECADO_ENGINE__IN_FLIGHT", "-1", "-1"),
        ("public_url", "RECADO_PUBLIC_URL", "recado.example.com", "such as https://"),
    ] {
        let error = refused("", &[(env, value)], Flags::default());
        assert!(error.contains(&format!("{key} ({env})")) && error.contains(part), "{error}");
    }
    let error = refused("[engine]\nlease = 60", &[], Flags::default());
    assert!(error.contains("engine.lease (/") && error.contains("must be text in quotes, such as \"60s\""), "{error}");
    let error = refused("grpc_addr = '127.0.0.1:1'\nhttp_addr =", &[], Flags::default());
    assert!(error.contains(".toml, line 2: this is not TOML"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let flags = Flags { config: Some("/nowhere/recado.toml".into()), ..Flags::default() };
    let error = Layers::read(&flags, []).err().unwrap().to_string();
    assert!(error.contains("/nowhere/recado.toml cannot be read"), "{error}");
}

#[test]
fn a_public_address_keeps_its_path_when_joined() {
    let config = read("public_url = 'https://example.com/recado'", &[], Flags::default()).unwrap();
    let url = config.public_url.unwrap().join("webhooks/meta/acme").unwrap();
    assert_eq!(url.as_str(), "https://example.com/recado/webhooks/meta/acme");
}

#[test]
fn times_to_look_up_are_a_rising_list_or_none() {
    let read_list = |list: &str| read("", &[("RECADO_ENGINE__LOOK_UP_AFTER", list)], Flags::default());
    let seconds = |list: &str| -> Vec<u64> {
        read_list(list).unwrap().engine.look_up_after.iter().map(Duration::as_secs).collect()
    };
    assert_eq!(Config::default().engine.look_up_after.len(), 5);
    assert_eq!(seconds("1m, 5m,30m , 2h"), [60, 300, 1_800, 7_200]);
    assert_eq!(seconds(""), [0_u64; 0]);
    for (wrong, words) in [
        ("1m, 1m", "has 1m behind 1m"),
        ("5m, 1m", "has 1m behind 5m"),
        ("0s", "behind 0s"),
        ("1m,", "no duration"),
        ("1m; 5m", "no duration"),
    ] {
        let error = read_list(wrong).unwrap_err().to_string();
        assert!(error.contains("look_up_after") && error.contains(words), "{wrong}: {error}");
    }
}

#[test]
fn what_is_kept_may_be_unlimited_and_never_nothing() {
    let kept = Config::default().retention;
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    assert_eq!((kept.events, kept.messages, kept.journal, kept.media), (days(30), days(60), days(14), days(30)));
    assert_eq!((kept.events_bytes, kept.messages_bytes, kept.journal_bytes, kept.media_bytes), (0, 0, 0, 0));
    let unlimited = read("[retention]\nevents = ''\nmessages = ''\njournal = ''", &[], Flags::default()).unwrap();
    assert_eq!((unlimited.retention.events, unlimited.retention.messages), (None, None));
    for (file, words) in [
        ("events = '0s'", "retention.events is 0"),
        ("interval = '0s'", "retention.interval is 0"),
        ("step = 0", "retention.step is 0; it must be 1 to 10000"),
        ("journal = '61d'", "retention.journal is longer than retention.messages"),
        ("journal = ''", "retention.journal is longer than retention.messages"),
        ("media = 'soon'", "retention.media"),
    ] {
        let error = refused(&format!("[retention]\n{file}"), &[], Flags::default());
        assert!(error.contains(words), "{file}: {error}");
    }
}

#[test]
fn how_to_connect_to_nats_is_checked_and_no_secret_is_repeated() {
    let with = |pairs: &[(&'static str, &str)]| {
        pairs.iter().fold(Flags::default(), |flags, (key, value)| flags.with(key, *value))
    };
    let several = ("nats.url", "tls://a:4222, tls://b.example.com");
    let config = read("", &[], with(&[several, ("nats.user", "u"), ("nats.password", "p")])).unwrap();
    let servers: Vec<&str> = config.nats.servers.iter().map(Url::as_str).collect();
    assert_eq!(servers, ["tls://a:4222", "tls://b.example.com"]);
    assert!(read("", &[], Flags::default()).unwrap().nats.servers.is_empty());
    let table: &[(&[(&str, &str)], &str)] = &[
        (&[("nats.url", "localhost:4222")], "nats://HOST:PORT"),
        (&[("nats.url", "http://a")], "nats://HOST:PORT"),
        (&[("nats.url", "nats://a/x")], "nats://HOST:PORT"),
        (&[("nats.url", "nats://u:s3cret@a")], "nats.password"),
        (&[several, ("nats.stream", "a.b")], "nats.stream"),
        (&[several, ("nats.stream", "")], "nats.stream"),
        (&[several, ("nats.subject_prefix", "a..b")], "nats.subject_prefix"),
        (&[several, ("nats.subject_prefix", "a.*")], "nats.subject_prefix"),
        (&[several, ("nats.subject_prefix", "_INBOX")], "NATS's own"),
        (&[several, ("nats.subject_prefix", "_INBOX.recado")], "NATS's own"),
        (&[several, ("nats.subject_prefix", "$JS.API")], "NATS's own"),
        (&[several, ("nats.subject_prefix", "$SYS")], "NATS's own"),
        (&[several, ("nats.password", "s3cret")], "nats.user is not"),
        (&[several, ("nats.user", "u"), ("nats.token", "s3cret")], "more than one"),
        (&[("nats.token", "s3cret")], "nats.url is empty"),
        (&[("nats.url", "tls://a, nats://b")], "spoken to alike"),
        (&[("nats.url", "nats://a"), ("nats.ca", "roots.pem")], "nothing would be checked"),
    ];
    for (pairs, expected) in table {
        let said = refused("", &[], with(pairs));
        assert!(said.contains(expected) && !said.contains("s3cret"), "{said}");
    }
    // Only its beginning is NATS's.
    assert!(read("", &[], with(&[several, ("nats.subject_prefix", "acme._x.y_")])).is_ok());
    let given = with(&[("nats.url", "nats://u:s3cret@a"), ("nats.token", "s3cret")]);
    let explained = Layers::read(&given, environment(&[])).unwrap().explain();
    let shown: Vec<&str> = explained.iter().filter(|line| line.value == "(hidden)").map(|line| line.key).collect();
    assert_eq!(shown, ["nats.url", "nats.token"]);
}

#[test]
fn a_file_of_roots_for_nats_is_read_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (root, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let broken = "-----BEGIN CERTIFICATE-----\nb2zDoQ==\n-----END CERTIFICATE-----\n";
    std::fs::create_dir(folder.path().join("a-folder")).unwrap();
    let with = |name: &str, text: Option<&str>| {
        let file = folder.path().join(name);
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        Flags::default().with("nats.url", "tls://a").with("nats.ca", file.display().to_string())
    };
    for (name, text, expected) in [
        ("missing", None, "cannot be read"),
        ("a-folder", None, "cannot be read"),
        ("empty", Some(""), "no certificate in it"),
        ("a-key", Some(&*key), "no certificate in it"),
        ("no-pem", Some("roots"), "no certificate in it"),
        ("cut", Some(&root[..root.len() / 2]), "cannot be read"),
        ("the-second-is-none", Some(&format!("{root}{broken}")), "whose certificate 2 is none"),
    ] {
        let said = refused("", &[], with(name, text));
        assert!(said.contains("nats.ca is") && said.contains(name) && said.contains(expected), "{name}: {said}");
    }
    read("", &[], with("right", Some(&format!("{root}{root}")))).unwrap();
}
