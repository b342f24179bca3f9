//! Bytes that are no message, sent as they are: what no client library would write.

use anyhow::Result;
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use recado::proto;
use tonic::codec::{DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

use super::unharmed;
use crate::database::Engine;
use crate::gateway::{TestGateway, held};
use crate::refusal::{refusal, refused};

/// Bytes in, bytes out.
#[derive(Debug, Default, Clone, Copy)]
struct Raw;

impl tonic::codec::Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// Calls a method with bytes for a request.
async fn call(gateway: &TestGateway, path: &str, bytes: Vec<u8>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(gateway.channel.clone());
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let path = path.parse().map_err(|_| Status::unknown("no path"))?;
    client.unary(tonic::Request::new(bytes), path, Raw).await.map(drop)
}

const SEND: &str = "/recado.v1.MessagingService/SendMessage";

/// A length-delimited field.
fn field(number: u32, inner: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut bytes);
    encode_varint(inner.len() as u64, &mut bytes);
    bytes.extend(inner);
    bytes
}

/// The descriptors, by full name.
struct Types(Vec<(String, DescriptorProto)>);

impl Types {
    fn new(set: &FileDescriptorSet) -> Self {
        let mut types = Vec::new();
        for file in &set.file {
            let prefix = format!(".{}", file.package());
            file.message_type.iter().for_each(|message| Self::add(&mut types, &prefix, message));
        }
        Self(types)
    }

    fn add(types: &mut Vec<(String, DescriptorProto)>, prefix: &str, message: &DescriptorProto) {
        let name = format!("{prefix}.{}", message.name());
        message.nested_type.iter().for_each(|nested| Self::add(types, &name, nested));
        types.push((name, message.clone()));
    }

    /// A message for each of its string positions, however deep, with bytes there that are no UTF-8.
    fn with_bad_strings(&self, name: &str, above: &mut Vec<String>, path: &str, found: &mut Vec<(String, Vec<u8>)>) {
        if above.iter().any(|other| other == name) {
            return;
        }
        let Some((_, message)) = self.0.iter().find(|(known, _)| known == name) else { panic!("no type {name}") };
        above.push(name.to_owned());
        for member in &message.field {
            let (number, path) = (member.number() as u32, format!("{path}.{}", member.name()));
            match member.r#type() {
                Type::String => found.push((path, field(number, b"ol\xe1"))),
                Type::Message => {
                    let mut inner = Vec::new();
                    self.with_bad_strings(member.type_name(), above, &path, &mut inner);
                    found.extend(inner.into_iter().map(|(path, bytes)| (path, field(number, &bytes))));
                }
                _ => {}
            }
        }
        above.pop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_no_utf8_is_refused_in_every_position_of_every_request() -> Result<()> {
    let mut gateway = TestGateway::start(Engine::Sqlite).await?;
    let before = gateway.all_events().await?;
    let set = FileDescriptorSet::decode(proto::DESCRIPTORS)?;
    let types = Types::new(&set);
    let (mut methods, mut positions) = (0, 0);
    for file in set.file.iter().filter(|file| file.package() == "recado.v1") {
        for service in &file.service {
            for method in &service.method {
                methods += 1;
                let path = format!("/recado.v1.{}/{}", service.name(), method.name());
                let mut requests = Vec::new();
                types.with_bad_strings(method.input_type(), &mut Vec::new(), method.name(), &mut requests);
                for (at, bytes) in requests {
                    positions += 1;
                    let refusal = refused(call(&gateway, &path, bytes).await);
                    assert_eq!(refusal.is(), (Code::InvalidArgument, "MALFORMED_REQUEST"), "{at}: {}", refusal.message);
                }
            }
        }
    }
    assert!(methods >= 32 && positions > 300, "{positions} positions of {methods} methods were found");
    unharmed(&mut gateway, &before).await?;
    gateway.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_refused() -> Result<()> {
    let mut gateway = TestGateway::start(Engine::Sqlite).await?;
    let before = gateway.all_events().await?;
    let good = held("sandbox", "+351910000001", "olá").encode_to_vec();
    let mut bad: Vec<(String, Vec<u8>)> = Vec::new();
    // Cut anywhere but between two fields at the top, of which there are four.
    let mut whole = vec![0];
    for (number, part) in [(1, 7), (2, 13)] {
        whole.push(whole[number - 1] + 2 + part);
    }
    let text = proto::Text { body: "olá".into(), preview_url: false };
    whole.push(whole[2] + 2 + text.encoded_len());
    for length in (1..good.len()).filter(|length| !whole.contains(length)) {
        bad.push((format!("cut after {length} bytes"), good[..length].to_vec()));
    }
    bad.push(("a length beyond the end".into(), vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, b'x']));
    bad.push(("a varint without an end".into(), vec![0x0a; 1].into_iter().chain([0xff; 11]).collect()));
    bad.push(("field number 0".into(), vec![0x00, 0x00]));
    bad.push(("wire type 7".into(), vec![0x0f]));
    bad.push(("a number where a text must be".into(), vec![0x08, 0x01]));
    bad.push(("a group without an end".into(), vec![0xa3, 0x06]));
    bad.push(("an end without a group".into(), vec![0xa4, 0x06]));
    let mut nested = Vec::new();
    for _ in 0..5_000 {
        encode_key(100, WireType::StartGroup, &mut nested);
    }
    bad.push(("5,000 groups, one in the other".into(), nested));
    bad.push(("noise".into(), (0..10_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()));
    for (what, bytes) in bad {
        let refusal = refused(call(&gateway, SEND, bytes).await);
        assert_eq!(refusal.is(), (Code::InvalidArgument, "MALFORMED_REQUEST"), "{what}: {}", refusal.message);
    }
    unharmed(&mut gateway, &before).await?;
    gateway.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_passed_over_and_an_unknown_content_is_none() -> Result<()> {
    let mut gateway = TestGateway::start(Engine::Sqlite).await?;
    let before = gateway.all_events().await?;
    let mut later_content =
        proto::SendMessageRequest { content: None, ..held("sandbox", "+351910000001", "") }.encode_to_vec();
    later_content.extend(field(12, b"a content of a later version"));
    assert_eq!(refused(call(&gateway, SEND, later_content).await).fields, ["content REQUIRED"]);
    assert_eq!(gateway.all_events().await?, before);

    let mut unknown = held("sandbox", "+351910000001", "olá").encode_to_vec();
    unknown.extend(field(536_870_911, &[0xff; 100]));
    call(&gateway, SEND, unknown).await?;
    let events = gateway.all_events().await?;
    assert_eq!(events.len(), before.len() + 1);
    unharmed(&mut gateway, &events).await?;
    gateway.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_is_refused_and_so_is_a_method_that_is_not_there() -> Result<()> {
    let mut gateway = TestGateway::start(Engine::Sqlite).await?;
    let before = gateway.all_events().await?;
    let large = held("sandbox", "+351910000001", &"x".repeat(5 << 20)).encode_to_vec();
    for path in [SEND, "/recado.v1.MessagingService/BatchSend", "/recado.v1.AdminService/CreateSender"] {
        let refusal = refused(call(&gateway, path, large.clone()).await);
        assert_eq!(refusal.is(), (Code::OutOfRange, "REQUEST_TOO_LARGE"), "{path}");
    }
    // Just below the limit it is the field that is too large.
    let just = held("sandbox", "+351910000001", &"x".repeat((4 << 20) - 200)).encode_to_vec();
    assert_eq!(refused(call(&gateway, SEND, just).await).fields, ["text.body TOO_LONG"]);
    for path in ["/recado.v1.MessagingService/Nonsense", "/recado.v1.NoService/SendMessage", "/x", "/"] {
        let refusal = refused(call(&gateway, path, Vec::new()).await);
        assert_eq!(refusal.is(), (Code::Unimplemented, "NOT_IMPLEMENTED"), "{path}");
    }
    unharmed(&mut gateway, &before).await?;
    gateway.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_request_is_refused_with_what_is_wrong() -> Result<()> {
    let mut gateway = TestGateway::start(Engine::Sqlite).await?;
    let before = gateway.all_events().await?;
    for path in [SEND, "/recado.v1.EventService/StreamEvents", "/recado.v1.AdminService/ListSenders"] {
        for encoding in ["gzip", "deflate", "snappy"] {
            let mut client = tonic::client::Grpc::new(gateway.channel.clone());
            client.ready().await?;
            let mut request = tonic::Request::new(Vec::new());
            request.metadata_mut().insert("grpc-encoding", encoding.parse()?);
            let status = client.unary(request, path.parse()?, Raw).await.map(drop).unwrap_err();
            let refusal = refusal(&status);
            assert_eq!(refusal.is(), (Code::Unimplemented, "NOT_IMPLEMENTED"), "{path}");
            assert!(refusal.message.contains("compressed") && refusal.message.contains("identity"), "{refusal:?}");
            // From here on, clients that can choose send plainly.
            assert_eq!(status.metadata().get("grpc-accept-encoding").unwrap(), "identity");
        }
    }
    let nonsense = refused(call(&gateway, "/recado.v1.NoService/SendMessage", Vec::new()).await);
    assert!(nonsense.message.contains("no such method"), "{nonsense:?}");
    unharmed(&mut gateway, &before).await?;
    gateway.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_whole_message_is_refused_whatever_the_method() -> Result<()> {
    let mut gateway = TestGateway::start(Engine::Sqlite).await?;
    let before = gateway.all_events().await?;
    let client = reqwest::Client::builder().http2_prior_knowledge().build()?;
    let set = FileDescriptorSet::decode(proto::DESCRIPTORS)?;
    let services = set.file.iter().filter(|file| file.package() == "recado.v1").flat_map(|file| &file.service);
    let methods: Vec<String> = services
        .flat_map(|service| service.method.iter().map(|method| format!("{}/{}", service.name(), method.name())))
        .collect();
    assert!(methods.len() >= 32);
    for method in methods {
        for (what, body) in [
            ("nothing", &[][..]),
            ("half a head", &[0, 0][..]),
            ("a part of what the head says", &[0, 0, 0, 0, 5, 8]),
            ("a flag that is none", &[2, 0, 0, 0, 0]),
            ("a flag without the name of a compression", &[1, 0, 0, 0, 0]),
        ] {
            let request = client.post(format!("{}/recado.v1.{method}", gateway.grpc)).body(body);
            let request = request.header("content-type", "application/grpc").header("te", "trailers");
            let status = Status::from_header_map(request.send().await?.headers()).expect("no status");
            let refusal = refusal(&status);
            let expected = match (method.as_str(), what) {
                // Its first message is asked for by what it must be.
                ("MessagingService/UploadMedia", "nothing") => "INVALID_REQUEST",
                _ => "MALFORMED_REQUEST",
            };
            assert_eq!(refusal.is(), (Code::InvalidArgument, expected), "{method}, {what}: {refusal:?}");
        }
    }
    unharmed(&mut gateway, &before).await?;
    gateway.stop().await?;
    Ok(())
}
