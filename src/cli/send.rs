//! `recado send`: one message, to try things.

use std::path::PathBuf;

use clap::ValueEnum;
use recado::proto::messaging_service_client::MessagingServiceClient;
use recado::proto::plan_send_request::Entry;
use recado::proto::send_message_request::Content;
use recado::proto::{
    Media, MediaKind, MessageStatus, PlanSendRequest, SendMessageRequest, SendMessageResponse, SendOptions,
    SendTemplateRequest, Text, UploadInfo, media,
};

use super::client::{Link, Server, refused};
use super::{output, upload};

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("content").required(true).args(["text", "template", "media_url", "media"]))]
pub struct Args {
    /// Number of the person: E.164, such as +5511999990000
    #[arg(long, value_name = "NUMBER")]
    to: String,
    /// Text to send
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Template to send: the provider's name or id of it
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// Value of a variable of the template, by its position or name; repeat it for each
    #[arg(long, value_name = "NAME=VALUE", conflicts_with_all = ["text", "media_url", "media"], value_parser = pair)]
    param: Vec<(String, String)>,
    /// Language of the template, such as pt_BR [default: the sender's]
    #[arg(long, value_name = "CODE", conflicts_with_all = ["text", "media_url", "media"])]
    language: Option<String>,
    /// Address of a file to send, http or https
    #[arg(long, value_name = "URL", requires = "kind")]
    media_url: Option<String>,
    /// File of this machine to upload and send, where the sender's provider keeps files
    #[arg(long, value_name = "FILE", requires = "kind")]
    media: Option<PathBuf>,
    /// MIME type of that file [default: by the end of its name]
    #[arg(long, value_name = "TYPE", requires = "media", conflicts_with_all = ["text", "template", "media_url"])]
    mime_type: Option<String>,
    /// Kind of the file
    #[arg(long, conflicts_with_all = ["text", "template"])]
    kind: Option<Kind>,
    /// Text under the file
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["text", "template"])]
    caption: Option<String>,
    /// Sender to send from
    #[arg(long, value_name = "ID", default_value = "sandbox")]
    sender: String,
    /// Idempotency key: the same key and content sends once
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Sender to fall back on when the one before cannot deliver; repeat it for more, in their order
    #[arg(long, value_name = "ID")]
    fallback: Vec<String>,
    /// Make every check, send nothing
    #[arg(long)]
    validate_only: bool,
    /// Explain what the send would do, as things stand; send nothing
    #[arg(long, conflicts_with = "validate_only")]
    plan: bool,
    /// Print the answer as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Image,
    Audio,
    Voice,
    Video,
    Document,
    Sticker,
}

impl From<Kind> for MediaKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Image => Self::Image,
            Kind::Audio => Self::Audio,
            Kind::Voice => Self::Voice,
            Kind::Video => Self::Video,
            Kind::Document => Self::Document,
            Kind::Sticker => Self::Sticker,
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE, such as 1=Ana")?;
    match name {
        "" => Err("the name before '=' is missing; write it as NAME=VALUE, such as 1=Ana".to_owned()),
        name => Ok((name.to_owned(), value.to_owned())),
    }
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = args.server.messaging().await?;
    let (as_json, validate_only) = (args.json, args.validate_only);
    if args.plan {
        anyhow::ensure!(args.media.is_none(), "--plan uploads nothing; give --media-url in place of --media");
        let file = args.media_url.clone().map(|url| file(&args, media::Source::Url(url), ""));
        let response = client.plan_send(planned(args, file)).await.map_err(refused)?.into_inner();
        return output::line(&match as_json {
            true => output::full_json("PlanSendResponse", &response)?,
            false => response.explanation.join("\n"),
        });
    }
    let response = match template(&args) {
        Some(request) => {
            let answer = client.send_template(request).await.map_err(refused)?.into_inner();
            // The two answers have the same fields.
            SendMessageResponse {
                message_id: answer.message_id,
                status: answer.status,
                accept_time: answer.accept_time,
                deduplicated: answer.deduplicated,
                cursor: answer.cursor,
                template_unchecked: answer.template_unchecked,
            }
        }
        None => {
            let file = attached(&mut client, &args).await?;
            client.send_message(message(args, file)).await.map_err(refused)?.into_inner()
        }
    };
    output::line(&match (as_json, validate_only) {
        (true, _) => output::full_json("SendMessageResponse", &response)?,
        (false, true) => "it would be accepted; nothing was sent".to_owned(),
        (false, false) => readable(&response),
    })
}

fn options(args: &Args) -> Option<SendOptions> {
    Some(SendOptions {
        idempotency_key: args.key.clone().unwrap_or_default(),
        validate_only: args.validate_only,
        fallback_senders: args.fallback.clone(),
        ..SendOptions::default()
    })
}

fn template(args: &Args) -> Option<SendTemplateRequest> {
    Some(SendTemplateRequest {
        sender: args.sender.clone(),
        to: args.to.clone(),
        template: args.template.clone()?,
        language_code: args.language.clone().unwrap_or_default(),
        parameters: args.param.iter().cloned().collect(),
        options: options(args),
        ..SendTemplateRequest::default()
    })
}

/// The file of the message: at its address, or at the provider, once it is uploaded.
async fn attached(client: &mut MessagingServiceClient<Link>, args: &Args) -> anyhow::Result<Option<Media>> {
    if let Some(url) = &args.media_url {
        return Ok(Some(file(args, media::Source::Url(url.clone()), "")));
    }
    let Some(path) = &args.media else { return Ok(None) };
    let (name, mime_type) = upload::described(path, args.mime_type.as_deref())?;
    let info = UploadInfo {
        sender: args.sender.clone(),
        kind: args.kind.map(MediaKind::from).unwrap_or_default().into(),
        mime_type,
        file_name: name.clone(),
        size_bytes: None,
    };
    let kept = upload::upload(client, path, info).await?;
    Ok(Some(file(args, media::Source::MediaId(kept.media_id), &name)))
}

/// Only documents show a name to the person.
fn file(args: &Args, source: media::Source, name: &str) -> Media {
    let is_document = matches!(args.kind, Some(Kind::Document));
    Media {
        kind: args.kind.map(MediaKind::from).unwrap_or_default().into(),
        source: Some(source),
        file_name: if is_document { name.to_owned() } else { String::new() },
        caption: args.caption.clone().unwrap_or_default(),
        ..Media::default()
    }
}

fn planned(args: Args, file: Option<Media>) -> PlanSendRequest {
    let entry = match template(&args) {
        Some(request) => Entry::Template(request),
        None => Entry::Message(message(args, file)),
    };
    PlanSendRequest { entry: Some(entry) }
}

fn message(args: Args, file: Option<Media>) -> SendMessageRequest {
    let options = options(&args);
    let content = match (args.text, file) {
        (Some(body), _) => Some(Content::Text(Text { body, preview_url: false })),
        (None, file) => file.map(Content::Media),
    };
    SendMessageRequest { sender: args.sender, to: args.to, content, options, ..SendMessageRequest::default() }
}

fn readable(response: &SendMessageResponse) -> String {
    let status = output::short(response.status().as_str_name(), "MESSAGE_STATUS_");
    let again = if response.deduplicated { ", sent before under this key: nothing was sent now" } else { "" };
    let unchecked = match response.template_unchecked {
        true => ", not compared with the provider's templates: no copy of them is there",
        false => "",
    };
    let follow = match response.status() {
        MessageStatus::Accepted | MessageStatus::Scheduled if !response.cursor.is_empty() => {
            format!("\nwhat becomes of it: recado events --follow --after {}", response.cursor)
        }
        _ => String::new(),
    };
    format!("{} {status}{again}{unchecked}{follow}", response.message_id)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Alone::parse_from(line.split(' ')).args
    }

    #[test]
    fn flags_become_the_request() {
        let line = "send --to +551 --media-url https://x/y.ogg --kind voice --key k --fallback b --fallback c";
        let voice = args(line);
        let recording = file(&voice, media::Source::Url("https://x/y.ogg".into()), "");
        let request = message(voice, Some(recording));
        assert_eq!((request.sender.as_str(), request.to.as_str()), ("sandbox", "+551"));
        let options = request.options.unwrap();
        assert_eq!((options.idempotency_key.as_str(), options.fallback_senders), ("k", vec!["b".into(), "c".into()]));
        let Some(Content::Media(media)) = request.content else { panic!("no media") };
        assert_eq!((media.kind(), media.file_name.as_str()), (MediaKind::Voice, ""));
        let document = args("send --to 1 --media a.pdf --kind document --caption hi");
        let media = file(&document, media::Source::MediaId("7".into()), "a.pdf");
        assert_eq!((media.file_name.as_str(), media.caption.as_str()), ("a.pdf", "hi"));

        let request = template(&args("send --to 1 --template t --param 1=a=b --param name= --language pt_BR")).unwrap();
        assert_eq!(request.parameters["1"], "a=b");
        assert_eq!(request.parameters["name"], "");
        assert_eq!(request.language_code, "pt_BR");
        assert!(template(&args("send --to 1 --text hi")).is_none());
        assert!(matches!(planned(args("send --to 1 --template t --plan"), None).entry, Some(Entry::Template(_))));
        assert!(matches!(planned(args("send --to 1 --text hi --plan"), None).entry, Some(Entry::Message(_))));
    }
}
