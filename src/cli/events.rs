//! `recado events`: the event log, one line per event.

use std::time::{Duration, Instant};

use recado::proto::event_service_client::EventServiceClient;
use recado::proto::stream_events_response::Item;
use recado::proto::{
    AckEventsRequest, Event, EventFilter, GetSubscriptionRequest, ListEventsRequest, StreamEventsRequest,
    list_events_request, stream_events_request,
};
use tonic::{Code, Status, Streaming};

use super::client::{Link, Server, refused};
use super::serve::shutdown_signal;
use super::{event_line, output};

/// Longest wait before a broken stream is opened again.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How often at most a subscription is moved.
const ACK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the last move of a subscription may take.
const LAST_ACK: Duration = Duration::from_secs(2);

/// Without --follow the command ends with the newest event, and starts with the oldest when nothing else is said. With
/// --follow it starts with now, goes on until it is interrupted, and after a broken connection resumes where it was.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("start").args(["after", "from_beginning", "subscription"]))]
pub struct Args {
    /// Start after this place
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Start with the oldest event that is kept
    #[arg(long)]
    from_beginning: bool,
    /// Start at the place of this named subscription; with --follow it is made when there is none
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,
    /// Move the subscription over what was printed; without it, reading leaves the place where it is
    #[arg(long, requires = "subscription")]
    ack: bool,
    /// Go on with new events
    #[arg(long, short)]
    follow: bool,
    /// Only of this sender; repeat it for more
    #[arg(long, value_name = "ID")]
    sender: Vec<String>,
    /// Only about this message; repeat it for more
    #[arg(long, value_name = "ID")]
    message: Vec<String>,
    /// Print one line of JSON per event
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    if args.follow { follow(args).await } else { list(args).await }
}

impl Args {
    fn filter(&self) -> Option<EventFilter> {
        let (senders, message_ids) = (self.sender.clone(), self.message.clone());
        let wanted = !senders.is_empty() || !message_ids.is_empty();
        wanted.then(|| EventFilter { senders, message_ids, ..EventFilter::default() })
    }

    fn print(&self, event: &Event) -> anyhow::Result<()> {
        output::line(&if self.json { output::json("Event", event)? } else { event_line::readable(event) })
    }
}

async fn list(args: Args) -> anyhow::Result<()> {
    use list_events_request::Start;
    let mut client = args.server.events().await?;
    let start = match (&args.after, &args.subscription) {
        (Some(cursor), _) => Start::AfterCursor(cursor.clone()),
        (None, Some(name)) => {
            let request = GetSubscriptionRequest { subscription: name.clone(), ..Default::default() };
            let response = client.get_subscription(request).await.map_err(refused)?.into_inner();
            Start::AfterCursor(response.subscription.unwrap_or_default().cursor)
        }
        (None, None) => Start::FromBeginning(true),
    };
    let mut request = ListEventsRequest { start: Some(start), filter: args.filter(), page_size: 200 };
    loop {
        let page = client.list_events(request.clone()).await.map_err(refused)?.into_inner();
        page.events.iter().try_for_each(|event| args.print(event))?;
        if let (true, Some(name)) = (args.ack, &args.subscription) {
            ack(&mut client, name, &page.next_cursor).await.map_err(refused)?;
        }
        if page.caught_up {
            return Ok(());
        }
        request.start = Some(Start::AfterCursor(page.next_cursor));
    }
}

async fn ack(client: &mut EventServiceClient<Link>, name: &str, cursor: &str) -> Result<(), Status> {
    let request = AckEventsRequest { subscription: name.to_owned(), cursor: cursor.to_owned() };
    client.ack_events(request).await.map(drop)
}

/// What a stream left behind.
struct Place {
    /// Everything up to it was printed.
    cursor: Option<String>,
    /// The subscription was moved up to it.
    acked: Option<String>,
    acked_at: Instant,
    /// Whether anything came since the last opening.
    moved: bool,
}

/// Why a stream ended.
enum Ended {
    /// By plan: come back after this.
    GoingAway(Duration),
    /// Without a word.
    Closed,
    Failed(Status),
}

async fn follow(args: Args) -> anyhow::Result<()> {
    // The first connection must stand, so that a wrong address is an error; later ones are waited for.
    let mut client = args.server.events().await?;
    let mut place = Place { cursor: None, acked: None, acked_at: Instant::now(), moved: false };
    let stop = shutdown_signal()?;
    tokio::select! {
        ended = stream(&args, &mut client, &mut place) => return ended,
        () = stop => {}
    }
    // Nothing lies between the print of an event and the note of its place, so the place is right wherever it stopped.
    match tokio::time::timeout(LAST_ACK, catch_up_ack(&args, &mut client, &mut place)).await {
        Ok(Ok(())) => {}
        Ok(Err(status)) => eprintln!("the subscription was not moved to the end: {}", status.message()),
        Err(_) => eprintln!("the subscription was not moved to the end: no answer"),
    }
    Ok(())
}

/// Streams, and opens the stream again whenever that can help.
async fn stream(args: &Args, client: &mut EventServiceClient<Link>, place: &mut Place) -> anyhow::Result<()> {
    let mut wait = Duration::from_millis(500);
    loop {
        place.moved = false;
        let ended = match open(args, client, place).await {
            Ok(stream) => read(args, client, stream, place).await?,
            Err(status) => Ended::Failed(status),
        };
        if place.moved {
            wait = Duration::from_millis(500);
        }
        let (pause, why) = match ended {
            Ended::Failed(status) if !is_passing(&status, place.cursor.is_some()) => return Err(refused(status)),
            Ended::Failed(status) => (wait, format!("{:?}: {}", status.code(), status.message())),
            Ended::GoingAway(after) => (after.max(Duration::from_millis(100)), "the gateway shuts down".to_owned()),
            Ended::Closed => (wait, "the gateway closed it".to_owned()),
        };
        let pause = pause.min(LONGEST_WAIT);
        eprintln!("the stream ended ({why}); opening it again in {}", humantime::format_duration(pause));
        tokio::time::sleep(pause).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn open(
    args: &Args,
    client: &mut EventServiceClient<Link>,
    place: &mut Place,
) -> Result<Streaming<recado::proto::StreamEventsResponse>, Status> {
    use stream_events_request::Start;
    let start = match (&args.subscription, &place.cursor) {
        (Some(name), Some(_)) if args.ack => {
            catch_up_ack(args, client, place).await?;
            Some(Start::Subscription(name.clone()))
        }
        // Unmoved, the subscription would give again what was printed.
        (_, Some(cursor)) => Some(Start::AfterCursor(cursor.clone())),
        (Some(name), None) => Some(Start::Subscription(name.clone())),
        (None, None) => match &args.after {
            Some(cursor) => Some(Start::AfterCursor(cursor.clone())),
            None => args.from_beginning.then_some(Start::FromBeginning(true)),
        },
    };
    let request = StreamEventsRequest { start, filter: args.filter(), ..StreamEventsRequest::default() };
    Ok(client.stream_events(request).await?.into_inner())
}

/// Reads until the stream ends. Fails only when nothing can be printed any more.
async fn read(
    args: &Args,
    client: &mut EventServiceClient<Link>,
    mut stream: Streaming<recado::proto::StreamEventsResponse>,
    place: &mut Place,
) -> anyhow::Result<Ended> {
    let mut going_away = None;
    loop {
        let item = match stream.message().await {
            Ok(Some(response)) => response.item,
            Ok(None) => return Ok(going_away.map_or(Ended::Closed, Ended::GoingAway)),
            Err(_) if going_away.is_some() => return Ok(going_away.map_or(Ended::Closed, Ended::GoingAway)),
            Err(status) => return Ok(Ended::Failed(status)),
        };
        let cursor = match item {
            Some(Item::Attached(attached)) => attached.start_cursor,
            Some(Item::Event(event)) => {
                args.print(&event)?;
                event.cursor
            }
            Some(Item::Checkpoint(checkpoint)) => checkpoint.cursor,
            Some(Item::CaughtUp(caught_up)) => caught_up.cursor,
            Some(Item::GoingAway(last)) => {
                let after = last.retry_after.and_then(|after| Duration::try_from(after).ok());
                going_away = Some(after.unwrap_or(Duration::from_secs(1)));
                last.cursor
            }
            // A kind that this version does not know.
            None => continue,
        };
        place.moved = true;
        if !cursor.is_empty() {
            place.cursor = Some(cursor);
        }
        if place.acked_at.elapsed() >= ACK_INTERVAL {
            // A failure is not the end: the next one moves the subscription just as far.
            if let Err(status) = catch_up_ack(args, client, place).await {
                eprintln!("the subscription was not moved: {}", status.message());
                place.acked_at = Instant::now();
            }
        }
    }
}

/// Moves the subscription to the place, when that was asked for and is news.
async fn catch_up_ack(args: &Args, client: &mut EventServiceClient<Link>, place: &mut Place) -> Result<(), Status> {
    if let (true, Some(name), Some(cursor)) = (args.ack, &args.subscription, &place.cursor)
        && place.acked != place.cursor
    {
        ack(client, name, cursor).await?;
        place.acked_at = Instant::now();
        place.acked.clone_from(&place.cursor);
    }
    Ok(())
}

/// Whether opening the stream again can help. After a broken connection the gateway may take our own stream for alive
/// until its lease ends, so a held subscription is waited for. Not when somebody took it over: the two would fight.
fn is_passing(status: &Status, resuming: bool) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::Internal | Code::Unknown | Code::Cancelled => true,
        Code::DeadlineExceeded => true,
        Code::AlreadyExists => resuming,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}
