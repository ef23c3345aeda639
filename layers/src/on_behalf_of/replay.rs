//! Whether a request can be sent a second time.

/// Keeps what is needed to send a request body again after the next tier asked for a stronger token.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot keep a body of type `{B}`",
    note = "use `CloneBody` for bodies that are `Clone` (`Full`, `Bytes`, `String`), `Tee` for others (boxed bodies, those of tonic, \
            axum and reqwest), or `Never` to relay the challenge without a retry"
)]
pub trait Replay<B> {
    /// What is kept while the first attempt is under way.
    type Kept;
    /// `false` promises that [`again`](Self::again) always returns `None`, so that nothing needs to be kept.
    const REPLAYS: bool = true;

    /// Splits a body into the one to send and what is kept of it.
    fn keep(&self, body: B) -> (B, Self::Kept);

    /// The body again, if there is one.
    fn again(&self, kept: Self::Kept) -> Option<B>;
}

/// Never sends a request twice. The default.
///
/// What the authority wants of the user goes up as with any other. Where it gives the stronger token without him, the caller is told
/// 503 with `Retry-After: 1`: the token is at hand for the next request, and there is nothing that the user could do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Never;

/// Clones the body.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneBody;

impl<B> Replay<B> for Never {
    type Kept = ();
    const REPLAYS: bool = false;

    fn keep(&self, body: B) -> (B, ()) {
        (body, ())
    }

    fn again(&self, (): ()) -> Option<B> {
        None
    }
}

#[diagnostic::do_not_recommend]
impl<B: Clone> Replay<B> for CloneBody {
    type Kept = B;

    fn keep(&self, body: B) -> (B, B) {
        (body.clone(), body)
    }

    fn again(&self, kept: B) -> Option<B> {
        Some(kept)
    }
}
