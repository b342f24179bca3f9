//! Where to begin: decided here, by what the stream, the log and the store say.

use crate::domain::{Cursor, EventId};

/// The newest event of ours in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Newest {
    pub cursor: Cursor,
    pub event_id: String,
}

/// What is known of the log.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub epoch: i64,
    pub head: i64,
    /// What is kept follows on this place.
    pub oldest: i64,
    /// The event at the place of the newest one in the stream, when it is kept.
    pub at_newest: Option<EventId>,
    /// Our own place: up to there NATS took everything, as far as we heard.
    pub own: i64,
    /// Where to begin whatever the stream says.
    pub from: Option<i64>,
}

/// Where to begin, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// After the newest event in the stream.
    Stream(i64),
    /// After it too, although the stream had more before: so much of its end is lost, and comes again.
    Lost(i64, i64),
    /// At our own place: the stream holds nothing of ours.
    Own(i64),
    /// At our own place: what the stream holds is of another log, so nothing of this one is known to be in it.
    OtherLog(i64),
    /// There, whatever the stream says.
    Asked(i64),
}

impl Start {
    /// The place: what follows it is published.
    pub fn position(self) -> i64 {
        let (Start::Stream(position)
        | Start::Lost(position, _)
        | Start::Own(position)
        | Start::OtherLog(position)
        | Start::Asked(position)) = self;
        position
    }
}

/// Decides where to begin.
pub(super) fn start(newest: Option<&Newest>, known: &Known) -> Start {
    if let Some(from) = known.from {
        return Start::Asked(from);
    }
    let Some(Newest { cursor, event_id }) = newest else { return Start::Own(known.own) };
    // A log that was put back to an older state has other events at the places that it had given before.
    let another = known.at_newest.is_some_and(|id| id.to_string() != *event_id);
    if cursor.epoch != known.epoch || cursor.position > known.head || another {
        return Start::OtherLog(known.own);
    }
    // What retention removed unpublished, and was passed over, is not what the stream lost.
    match cursor.position.max(known.own.min(known.oldest)) {
        position if position < known.own => Start::Lost(position, known.own - position),
        position => Start::Stream(position),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_knows_best_unless_it_is_of_another_log() {
        let (id, another) = (EventId::generate(), EventId::generate());
        let newest = |epoch, position| Newest { cursor: Cursor { epoch, position }, event_id: id.to_string() };
        let known = |own, at_newest| Known { epoch: 7, head: 50, oldest: 10, at_newest, own, from: None };
        let table = [
            ("it holds nothing of ours", None, known(30, None), Start::Own(30)),
            ("ahead of what was stored", Some(newest(7, 40)), known(30, Some(id)), Start::Stream(40)),
            ("exactly there", Some(newest(7, 30)), known(30, Some(id)), Start::Stream(30)),
            ("that event is kept no longer", Some(newest(7, 40)), known(30, None), Start::Stream(40)),
            ("its end was lost", Some(newest(7, 20)), known(30, Some(id)), Start::Lost(20, 10)),
            ("what came behind was removed unpublished", Some(newest(7, 4)), known(10, None), Start::Stream(10)),
            ("and is being removed", Some(newest(7, 4)), known(4, None), Start::Stream(4)),
            ("at the head", Some(newest(7, 50)), known(50, Some(id)), Start::Stream(50)),
            ("another database", Some(newest(8, 40)), known(30, Some(another)), Start::OtherLog(30)),
            ("beyond the head", Some(newest(7, 51)), known(30, None), Start::OtherLog(30)),
            ("another event at its place", Some(newest(7, 40)), known(30, Some(another)), Start::OtherLog(30)),
        ];
        for (case, newest, known, expected) in table {
            assert_eq!(start(newest.as_ref(), &known), expected, "{case}");
            let asked = Known { from: Some(5), ..known };
            assert_eq!(start(newest.as_ref(), &asked), Start::Asked(5), "{case}, but asked for");
        }
    }
}
