//! Bodies of answers: bytes at hand, or a range of a file that is read as it is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncRead as _, ReadBuf};

/// A file is sent in pieces of this size, one at a time: memory does not grow with what is sent.
const PIECE: usize = 256 << 10;

/// The body of an answer. Its length is always known.
#[derive(Debug)]
pub enum Body {
    /// Bytes at hand.
    Bytes(Bytes),
    /// The next `left` bytes of a file.
    File {
        /// Where it stands.
        file: File,
        /// What is still to be sent.
        left: u64,
    },
}

impl Body {
    /// A body without content.
    #[must_use]
    pub fn empty() -> Self {
        Self::Bytes(Bytes::new())
    }

    /// The bytes that are still to be sent.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { left, .. } => *left,
        }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        match &mut *self {
            Self::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::File { file, left } => {
                let size = PIECE.min(usize::try_from(*left).unwrap_or(PIECE));
                let mut piece = vec![0; size];
                let mut buffer = ReadBuf::new(&mut piece);
                match Pin::new(file).poll_read(cx, &mut buffer) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
                    Poll::Ready(Ok(())) => {
                        let read = buffer.filled().len();
                        if read == 0 {
                            // the file is shorter than was said: break off, so that the client notices
                            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                        }
                        piece.truncate(read);
                        *left -= read as u64;
                        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}
