//! A response body that follows a [`Framing`], the broken ones included.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::Framing;
use super::socket::Ending;

/// The bytes that a cut body promises beyond those that it sends.
pub(super) const MISSING_BYTES: usize = 64;

/// The pause between the part that is sent and the end of a cut body, so that the part is on its way before the end.
const PAUSE_BEFORE_CUT: Duration = Duration::from_millis(5);

pub(super) struct ScriptedBody {
    parts: VecDeque<Bytes>,
    framing: Framing,
    ending: Ending,
    pause: Option<Pin<Box<Sleep>>>,
    written: Option<Arc<Notify>>,
}

impl ScriptedBody {
    pub(super) fn new(mut body: Bytes, framing: Framing, ending: Ending) -> Self {
        let mut parts = VecDeque::new();
        if framing == Framing::Chunked && body.len() > 1 {
            parts.push_back(body.split_to(body.len() / 2));
        }
        if !body.is_empty() {
            parts.push_back(body);
        }
        Self { parts, framing, ending, pause: None, written: None }
    }

    /// Notifies once hyper has taken the whole body.
    pub(super) fn notify_when_written(&mut self, written: Arc<Notify>) {
        self.written = Some(written);
    }

    fn is_cut(&self) -> bool {
        matches!(self.framing, Framing::CutShort | Framing::ResetMidway)
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(part) = self.parts.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        if !self.is_cut() {
            return Poll::Ready(None);
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE_BEFORE_CUT)));
        ready!(pause.as_mut().poll(cx));
        if self.framing == Framing::ResetMidway {
            self.ending.set_reset();
        }
        Poll::Ready(Some(Err(io::Error::other("scripted to end in the middle of the body"))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty() && self.framing == Framing::Length
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length => SizeHint::with_exact(self.parts.iter().map(|part| part.len() as u64).sum()),
            Framing::Chunked | Framing::CutShort | Framing::ResetMidway => SizeHint::default(),
        }
    }
}

impl Drop for ScriptedBody {
    fn drop(&mut self) {
        if let Some(written) = &self.written {
            written.notify_one();
        }
    }
}
