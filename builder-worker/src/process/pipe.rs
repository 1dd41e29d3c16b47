//! What a process prints, read to its end whatever it is.

use std::collections::VecDeque;
use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

/// A line of stderr is cut after this many bytes: a builder may print gigabytes without a newline.
pub(super) const LINE: usize = 16 << 10;

/// The last lines of stderr that are kept.
pub(super) const TAIL: usize = 60;

/// All of a pipe, or `None` when it is more than the limit, or the end of it; it is read to its end in all cases.
pub(super) async fn collect(
    mut pipe: impl AsyncRead + Unpin,
    limit: usize,
    end_only: bool,
) -> io::Result<Option<Vec<u8>>> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let mut over = false;
    loop {
        match pipe.read(&mut buffer).await? {
            0 if end_only => return Ok(Some(all.split_off(all.len().saturating_sub(limit)))),
            0 => return Ok((!over).then_some(all)),
            n if end_only => {
                if all.len() > limit + buffer.len() {
                    all.drain(..all.len() - limit);
                }
                all.extend_from_slice(&buffer[..n]);
            }
            n if over || all.len() + n > limit => {
                over = true;
                all = Vec::new();
            }
            n => all.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Every line of a pipe, cut where it is too long; the last ones are kept.
pub(super) async fn drain(
    pipe: impl AsyncRead + Unpin,
    mut on_line: impl FnMut(&[u8]),
) -> io::Result<VecDeque<Vec<u8>>> {
    let mut reader = BufReader::with_capacity(1 << 16, pipe);
    let mut tail = VecDeque::with_capacity(TAIL);
    let mut line = Vec::new();
    loop {
        let chunk = reader.fill_buf().await?;
        let ended = chunk.is_empty();
        let (taken, complete) = match chunk.iter().position(|&byte| byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (chunk.len(), ended),
        };
        let content = &chunk[..taken - usize::from(complete && !ended)];
        line.extend_from_slice(&content[..content.len().min(LINE - line.len())]);
        reader.consume(taken);
        if complete && !(ended && line.is_empty()) {
            on_line(&line);
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(std::mem::take(&mut line));
        }
        if ended {
            return Ok(tail);
        }
    }
}
