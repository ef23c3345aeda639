//! Replay of bodies that cannot be cloned: what was sent is written down, what was not is taken over.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::replay::Replay;
use crate::refusal::BoxError;

/// Sends a body that cannot be cloned (a tonic or axum `Body`, a boxed body, a reqwest `Body`) a second time: what was sent is
/// copied, up to a cap, and followed by what was not read yet.
///
/// The next tier may challenge before it has read the body, or without reading it at all; the rest is then taken over
/// from the first attempt, which ends with an error, so that half a body never looks like a whole one. A body of which more than the
/// cap was sent, or that failed, cannot be sent again: see [`Never`](super::Never). The first attempt is the same in every case.
///
/// Over HTTP/1 a server that challenges without reading should say `Connection: close` or read the body all the same: from a connection that it
/// closes silently the second attempt may get an error of the transport.
///
/// The client's body type must be one that other bodies can be put into. Where it is hyper's `Incoming` (a gateway), box it
/// before: `request.map(|body| body.map_err(Into::into).boxed_unsync())`.
///
/// ```
/// # use bytes::Bytes;
/// # use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
/// # use tower_bearer::{BoxError, Tee};
/// let boxed = Tee::<UnsyncBoxBody<Bytes, BoxError>>::new(64 * 1024, |body| body.boxed_unsync());
/// # #[cfg(feature = "tonic")]
/// let channel = Tee::new(64 * 1024, tonic::body::Body::new);
/// ```
pub struct Tee<B> {
    cap: usize,
    wrap: fn(TeeBody<B>) -> B,
}

/// The body that [`Tee`] sends in place of the given one.
pub struct TeeBody<B>(Role<B>);

enum Role<B> {
    First {
        tape: Arc<Mutex<Tape<B>>>,
        cap: usize,
    },
    Again(Again<B>),
}

/// What is kept of a body while it is sent.
pub struct TeeKept<B>(Arc<Mutex<Tape<B>>>);

/// A body between two attempts. It stays here while it is read, so that either of them can have it at any time.
struct Tape<B> {
    source: Source<B>,
    sent: Option<Sent>,
    /// Who waits for the source, to be told when it is taken away.
    reader: Option<Waker>,
}

enum Source<B> {
    Body(B),
    Ended,
    Taken,
}

/// What was sent so far. One buffer: small frames may hold on to large allocations, which no cap would see.
#[derive(Default)]
struct Sent {
    bytes: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// What was sent, and then the rest.
struct Again<B> {
    bytes: Bytes,
    trailers: Option<HeaderMap>,
    rest: Option<B>,
}

/// How the first attempt ends when the second takes its body over.
#[derive(Debug)]
struct TakenOver;

impl<B> Tee<B> {
    /// Keeps up to `cap` bytes of each request that is under way. `wrap` makes a [`TeeBody`] a body of the client's type:
    /// `tonic::body::Body::new`, `axum::body::Body::new`, `reqwest::Body::wrap`, `|body| body.boxed_unsync()`.
    #[must_use]
    pub fn new(cap: usize, wrap: fn(TeeBody<B>) -> B) -> Self {
        Self { cap, wrap }
    }
}

#[diagnostic::do_not_recommend]
impl<B> Replay<B> for Tee<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Kept = TeeKept<B>;

    fn keep(&self, body: B) -> (B, TeeKept<B>) {
        let tape = Arc::new(Mutex::new(Tape::new(body)));
        let first = Role::First {
            tape: Arc::clone(&tape),
            cap: self.cap,
        };
        ((self.wrap)(TeeBody(first)), TeeKept(tape))
    }

    fn again(&self, TeeKept(tape): TeeKept<B>) -> Option<B> {
        let (again, reader) = {
            // Poisoned: the body panicked, nobody knows where it stands.
            let mut tape = tape.lock().ok()?;
            let sent = tape.sent.take()?;
            let reader = tape.reader.take();
            let again = Again {
                bytes: sent.bytes.into(),
                trailers: sent.trailers,
                rest: tape.take_over(),
            };
            (again, reader)
        };
        // After the lock is given back: whoever is woken may poll at once.
        if let Some(reader) = reader.filter(|_| again.rest.is_some()) {
            reader.wake();
        }
        Some((self.wrap)(TeeBody(Role::Again(again))))
    }
}

impl<B> Tape<B> {
    fn new(body: B) -> Self {
        Self {
            source: Source::Body(body),
            sent: Some(Sent::default()),
            reader: None,
        }
    }

    /// The rest of the body, if it has not ended.
    fn take_over(&mut self) -> Option<B> {
        match std::mem::replace(&mut self.source, Source::Taken) {
            Source::Body(body) => Some(body),
            Source::Ended => {
                self.source = Source::Ended;
                None
            }
            Source::Taken => None,
        }
    }
}

impl<B> Tape<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll(
        &mut self,
        cap: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = match &mut self.source {
            Source::Body(body) => Pin::new(body).poll_frame(cx),
            Source::Ended => return Poll::Ready(None),
            Source::Taken => return Poll::Ready(Some(Err(TakenOver.into()))),
        };
        let Poll::Ready(frame) = polled else {
            if self.sent.is_some() {
                let reader = self.reader.get_or_insert_with(|| cx.waker().clone());
                reader.clone_from(cx.waker());
            }
            return Poll::Pending;
        };
        Poll::Ready(match frame.map(|frame| frame.map(in_bytes)) {
            Some(Ok(frame)) => {
                self.sent = self.sent.take().and_then(|sent| sent.and(&frame, cap));
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                self.sent = None;
                Some(Err(error.into()))
            }
            None => {
                self.source = Source::Ended;
                None
            }
        })
    }
}

impl Sent {
    /// `None` beyond the cap: what cannot be sent again is not kept.
    fn and<D: AsRef<[u8]>>(mut self, frame: &Frame<D>, cap: usize) -> Option<Self> {
        if let Some(data) = frame.data_ref() {
            self.bytes
                .extend_from_slice(within(data.as_ref(), cap.checked_sub(self.bytes.len())?)?);
        } else if let Some(trailers) = frame.trailers_ref() {
            let length = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                name.as_str().len() + value.len()
            };
            let trailing: usize = trailers.iter().map(length).sum();
            if trailing > cap.checked_sub(self.bytes.len())? {
                return None;
            }
            self.trailers = Some(trailers.clone());
        }
        Some(self)
    }
}

fn within(data: &[u8], room: usize) -> Option<&[u8]> {
    (data.len() <= room).then_some(data)
}

impl<B> Again<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(rest).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(in_bytes).map_err(Into::into)))
    }

    fn size_hint(&self) -> SizeHint {
        let sent = self.bytes.len() as u64;
        let Some(rest) = &self.rest else {
            return match &self.trailers {
                None => SizeHint::with_exact(sent),
                // HTTP/1 has no trailers behind a `Content-Length`.
                Some(_) => at_least(sent),
            };
        };
        let rest = rest.size_hint();
        let mut hint = at_least(rest.lower().saturating_add(sent));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(sent)) {
            hint.set_upper(upper);
        }
        hint
    }
}

fn at_least(bytes: u64) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(bytes);
    hint
}

/// Without a copy where the data are `Bytes` already.
fn in_bytes<D: Buf>(frame: Frame<D>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}

impl<B> Body for TeeBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Role::Again(again) => again.poll(cx),
            Role::First { tape, cap } => {
                // Alone: the call has its answer, and nobody will ask for the body again.
                if let Some(tape) = Arc::get_mut(tape) {
                    return tape.get_mut().map_or_else(
                        |_| Poll::Ready(Some(Err(TakenOver.into()))),
                        |tape| {
                            tape.sent = None;
                            tape.poll(*cap, cx)
                        },
                    );
                }
                let Ok(mut tape) = tape.lock() else {
                    return Poll::Ready(Some(Err(TakenOver.into())));
                };
                tape.poll(*cap, cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Role::Again(again) => {
                let rest = again.rest.as_ref().is_none_or(Body::is_end_stream);
                again.bytes.is_empty() && again.trailers.is_none() && rest
            }
            Role::First { tape, .. } => tape.lock().is_ok_and(|tape| match &tape.source {
                Source::Body(body) => body.is_end_stream(),
                Source::Ended => true,
                Source::Taken => false,
            }),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Role::Again(again) => again.size_hint(),
            Role::First { tape, .. } => match tape.lock().as_deref() {
                Ok(Tape {
                    source: Source::Body(body),
                    ..
                }) => body.size_hint(),
                Ok(Tape {
                    source: Source::Ended,
                    ..
                }) => SizeHint::with_exact(0),
                _ => SizeHint::new(),
            },
        }
    }
}

impl<B> Clone for Tee<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Tee<B> {}

impl<B> fmt::Debug for Tee<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tee")
            .field("cap", &self.cap)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for TeeBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeBody").finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for TeeKept<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeKept").finish_non_exhaustive()
    }
}

impl fmt::Display for TakenOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request is sent again, with the rest of this body")
    }
}

impl Error for TakenOver {}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use http_body_util::BodyExt as _;
    use http_body_util::combinators::UnsyncBoxBody;
    use proptest::prelude::*;

    use super::*;
    use crate::campaign::volume;

    type Boxed = UnsyncBoxBody<Bytes, BoxError>;
    type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

    #[derive(Clone)]
    enum Step {
        Data(&'static [u8]),
        Owned(Vec<u8>),
        Trailers,
        Wait,
        Fail,
    }

    /// Does as it is told, and then ends.
    struct Script(VecDeque<Step>, Option<u64>);

    impl Body for Script {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
            let frame = match self.0.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Wait) => return Poll::Pending,
                Some(Step::Fail) => return Poll::Ready(Some(Err("broken".into()))),
                Some(Step::Data(data)) => Frame::data(Bytes::from_static(data)),
                Some(Step::Owned(data)) => Frame::data(data.into()),
                Some(Step::Trailers) => Frame::trailers(trailers()),
            };
            if let (Some(data), Some(left)) = (frame.data_ref(), self.1) {
                self.1 = Some(left - data.len() as u64);
            }
            Poll::Ready(Some(Ok(frame)))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            self.1.map_or_else(SizeHint::new, SizeHint::with_exact)
        }
    }

    fn trailers() -> HeaderMap {
        HeaderMap::from_iter([("checksum".parse().unwrap(), "abc".parse().unwrap())])
    }

    fn body(steps: &[Step]) -> Boxed {
        Script(steps.iter().cloned().collect(), None).boxed_unsync()
    }

    fn tee(cap: usize) -> Tee<Boxed> {
        Tee::new(cap, |body| body.boxed_unsync())
    }

    fn poll(body: &mut Boxed) -> Polled {
        Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    fn data(body: &mut Boxed) -> Vec<u8> {
        match poll(body) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap().to_vec(),
            other => panic!("no data: {other:?}"),
        }
    }

    /// Everything up to the end: data, trailers, and how it ended.
    fn read(body: &mut Boxed) -> (Vec<u8>, Option<HeaderMap>, &'static str) {
        let (mut bytes, mut trailers) = (Vec::new(), None);
        for _ in 0..10_000 {
            match poll(body) {
                Poll::Pending => {}
                Poll::Ready(None) => return (bytes, trailers, "end"),
                Poll::Ready(Some(Err(_))) => return (bytes, trailers, "error"),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        assert!(trailers.is_none(), "data behind trailers");
                        bytes.extend_from_slice(&data);
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        }
        panic!("no end");
    }

    const AB: [Step; 3] = [Step::Data(b"aa"), Step::Data(b"bb"), Step::Trailers];

    #[test]
    fn whatever_was_read_before_the_drop_the_second_body_is_whole() {
        for read_before in 0..=4 {
            for dropped in [true, false] {
                let (mut first, kept) = tee(64).keep(body(&AB));
                for _ in 0..read_before {
                    assert!(poll(&mut first).is_ready());
                }
                let mut first = Some(first);
                if dropped {
                    first = None;
                }
                let mut second = tee(64).again(kept).unwrap();
                assert_eq!(
                    read(&mut second),
                    (b"aabb".to_vec(), Some(trailers()), "end"),
                    "{read_before} frames read, dropped: {dropped}"
                );
                // Half a body does not look like a whole one.
                if let Some(mut first) = first {
                    let expected = if read_before == 4 { "end" } else { "error" };
                    assert_eq!(read(&mut first), (Vec::new(), None, expected));
                }
            }
        }
    }

    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_reader_that_waits_is_woken_when_its_body_is_taken_over() {
        let counted = Arc::new(Counted(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&counted));
        let steps = [Step::Data(b"a"), Step::Wait, Step::Data(b"b")];
        let (mut first, kept) = tee(64).keep(body(&steps));
        assert_eq!(data(&mut first), b"a");
        let waiting = Pin::new(&mut first).poll_frame(&mut Context::from_waker(&waker));
        assert!(waiting.is_pending());
        assert_eq!(counted.0.load(Ordering::SeqCst), 0);
        let mut second = tee(64).again(kept).unwrap();
        assert_eq!(counted.0.load(Ordering::SeqCst), 1);
        assert_eq!(read(&mut first).2, "error");
        assert_eq!(read(&mut second), (b"ab".to_vec(), None, "end"));
    }

    #[test]
    fn beyond_the_cap_nothing_is_kept_and_the_first_attempt_goes_on() {
        for (cap, again) in [(5, true), (4, true), (3, false), (0, false)] {
            let (mut first, kept) = tee(cap).keep(body(&AB[..2]));
            assert_eq!(read(&mut first), (b"aabb".to_vec(), None, "end"), "{cap}");
            assert_eq!(kept.0.lock().unwrap().sent.is_some(), again, "{cap}");
            assert_eq!(tee(cap).again(kept).is_some(), again, "{cap}");
        }
        // What was not sent yet does not count.
        let (mut first, kept) = tee(2).keep(body(&AB));
        assert_eq!(data(&mut first), b"aa");
        let mut second = tee(2).again(kept).unwrap();
        assert_eq!(read(&mut second).0, b"aabb");
        // Trailers do.
        for (cap, again) in [(15, true), (14, false)] {
            let (mut first, kept) = tee(cap).keep(body(&AB));
            assert_eq!(read(&mut first).2, "end");
            assert_eq!(tee(cap).again(kept).is_some(), again, "{cap}");
        }
    }

    #[test]
    fn a_body_that_failed_is_not_sent_again() {
        let steps = [Step::Data(b"a"), Step::Fail];
        let (mut first, kept) = tee(64).keep(body(&steps));
        assert_eq!(read(&mut first), (b"a".to_vec(), None, "error"));
        assert!(tee(64).again(kept).is_none());
        // One that has yet to fail fails the second attempt.
        let (mut first, kept) = tee(64).keep(body(&steps));
        assert_eq!(data(&mut first), b"a");
        let mut second = tee(64).again(kept).unwrap();
        assert_eq!(read(&mut second), (b"a".to_vec(), None, "error"));
    }

    #[test]
    fn a_body_that_panicked_is_not_sent_again() {
        struct Panics;
        impl Body for Panics {
            type Data = Bytes;
            type Error = BoxError;
            fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
                panic!("on purpose")
            }
        }
        let (mut first, kept) = tee(64).keep(Panics.boxed_unsync());
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(&mut first)));
        assert!(polled.is_err());
        assert!(tee(64).again(kept).is_none());
        assert_eq!(read(&mut first).2, "error");
    }

    #[test]
    fn after_the_answer_nothing_is_kept_any_more() {
        let tape = Arc::new(Mutex::new(Tape::new(body(&AB))));
        let kept = TeeKept(Arc::clone(&tape));
        let mut first = TeeBody(Role::First { tape, cap: 64 });
        let mut next = || Pin::new(&mut first).poll_frame(&mut Context::from_waker(Waker::noop()));
        assert!(next().is_ready());
        assert_eq!(kept.0.lock().unwrap().sent.as_ref().unwrap().bytes, b"aa");
        drop(kept);
        assert!(next().is_ready());
        let Role::First { tape, .. } = &first.0 else {
            panic!("the first attempt")
        };
        assert!(tape.lock().unwrap().sent.is_none());
        assert_eq!(
            read(&mut first.boxed_unsync()),
            (Vec::new(), Some(trailers()), "end")
        );
    }

    #[test]
    fn length_and_end_are_those_of_the_body() {
        let sized = |steps: &[Step], length| Script(steps.iter().cloned().collect(), length);
        let (mut first, kept) = tee(64).keep(sized(&AB[..2], Some(4)).boxed_unsync());
        assert_eq!(
            (first.size_hint().exact(), first.is_end_stream()),
            (Some(4), false)
        );
        assert_eq!(data(&mut first), b"aa");
        assert_eq!(
            (first.size_hint().exact(), first.is_end_stream()),
            (Some(2), false)
        );
        let mut second = tee(64).again(kept).unwrap();
        assert_eq!(
            (first.size_hint().exact(), first.is_end_stream()),
            (None, false)
        );
        assert_eq!(
            (second.size_hint().exact(), second.is_end_stream()),
            (Some(4), false)
        );
        assert_eq!(data(&mut second), b"aa");
        assert_eq!(second.size_hint().exact(), Some(2));
        assert_eq!(data(&mut second), b"bb");
        assert_eq!(
            (second.size_hint().exact(), second.is_end_stream()),
            (Some(0), true)
        );

        let (mut first, kept) = tee(64).keep(body(&AB));
        assert_eq!(read(&mut first).2, "end");
        assert_eq!(
            (first.size_hint().exact(), first.is_end_stream()),
            (Some(0), true)
        );
        let mut second = tee(64).again(kept).unwrap();
        let hint = second.size_hint();
        assert_eq!(
            (hint.lower(), hint.upper(), second.is_end_stream()),
            (4, None, false)
        );
        assert_eq!(data(&mut second), b"aabb");
        assert!(!second.is_end_stream(), "trailers are to come");

        let (first, kept) = tee(0).keep(body(&[]));
        assert!(first.is_end_stream());
        let second = tee(0).again(kept).unwrap();
        assert!(second.is_end_stream(), "no body is no body again");
    }

    #[test]
    fn taken_over_at_any_moment_by_another_thread() {
        let whole: Vec<u8> = (0..=255).collect();
        let steps: Vec<Step> = whole.iter().map(|byte| Step::Owned(vec![*byte])).collect();
        for _ in 0..volume(50_000) {
            let (mut first, kept) = tee(1024).keep(body(&steps));
            let reader = std::thread::spawn(move || read(&mut first));
            let mut second = tee(1024).again(kept).unwrap();
            assert_eq!(read(&mut second), (whole.clone(), None, "end"));
            let (sent, _, end) = reader.join().unwrap();
            assert!(whole.starts_with(&sent));
            assert_eq!(end == "end", sent == whole, "{} bytes", sent.len());
        }
    }

    #[test]
    fn debug_shows_no_byte() {
        let (_, kept) = tee(64).keep(body(&AB));
        let again = TeeBody(Role::<Boxed>::Again(Again {
            bytes: Bytes::from_static(b"secret"),
            trailers: None,
            rest: None,
        }));
        assert_eq!(
            format!("{:?} {kept:?} {again:?}", tee(64)),
            "Tee { cap: 64, .. } TeeKept { .. } TeeBody { .. }"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(volume(100_000)))]

        #[test]
        fn every_attempt_has_the_bytes_of_the_original(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..12),
            trailing in any::<bool>(),
            waits in proptest::collection::vec(0_usize..16, 0..4),
            cuts in proptest::collection::vec((0_usize..20, any::<bool>()), 1..4),
        ) {
            let whole = chunks.concat();
            let mut steps: Vec<Step> = chunks.into_iter().map(Step::Owned).collect();
            for at in waits {
                steps.insert(at.min(steps.len()), Step::Wait);
            }
            if trailing {
                steps.push(Step::Trailers);
            }
            // As a call does it: what is sent again is kept again.
            let tee = tee(whole.len() + 64);
            let mut next = body(&steps);
            let mut left_over = Vec::new();
            for (polls, dropped) in cuts {
                let (mut sent, kept) = tee.keep(next);
                for _ in 0..polls {
                    let _ = poll(&mut sent);
                }
                if !dropped {
                    left_over.push(sent);
                }
                next = tee.again(kept).unwrap();
            }
            let (bytes, trailers, end) = read(&mut next);
            prop_assert_eq!(bytes, whole);
            prop_assert_eq!(trailers.is_some(), trailing);
            prop_assert_eq!(end, "end");
        }
    }
}
