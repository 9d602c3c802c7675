//! The bytes of answers to scrapes: pieces that show the board, made once and shared by all answers that show the same,
//! and between them what is of the moment.
//!
//! A compressed answer is one gzip member (RFC 1952): each piece is deflated by itself and ends at a byte, so pieces
//! can be joined like text. Called by [`super::renderer`], which decides for how long pieces are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use axum::body::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress};
use http_body::{Body, Frame, SizeHint};

use crate::exposition::{Format, Writer};
use crate::sinks::metrics::scrape::{Origin, Scrape};

/// What a connection takes at a time: what a stalled one holds on to is a few of these.
const CHUNK_BYTES: usize = 32 * 1024;
/// Scrapes are read over a fast network by a machine that is busy: level 3 costs a third of the time of level 6, for
/// a few per cent more bytes.
const LEVEL: Compression = Compression::new(3);
/// A member whose text is deflated, without a name or a time, made on an unnamed system.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// The last block of a deflated text: an empty one.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// How the bytes of an answer are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As text.
    Identity,
    /// `Content-Encoding: gzip`
    Gzip,
}

/// The pieces of one version of the board, in one format and encoding.
#[derive(Debug)]
pub(super) struct Pieces {
    version: u64,
    by_family: BTreeMap<&'static str, Piece>,
    bytes: usize,
}

/// Encoded text.
#[derive(Debug, Default)]
struct Piece {
    chunks: Vec<Bytes>,
    /// Of the text; it knows its length, too.
    crc: Crc,
}

/// An answer. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    parts: Arc<[Part]>,
    /// Held by the renderer alone: what a client leaves lying must not be kept for it.
    pieces: Weak<Pieces>,
    length: u64,
}

#[derive(Debug)]
enum Part {
    /// The piece of this family.
    Board(&'static str),
    Moment(Vec<Bytes>),
}

impl Pieces {
    /// Returns how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the version of the board that it shows.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Returns the pieces of `scrape`.
    pub(super) fn of(scrape: &Scrape, format: Format, encoding: Encoding) -> Result<Self, fmt::Error> {
        let mut encoder = Encoder::new(encoding);
        let mut by_family = BTreeMap::new();
        for family in scrape.families() {
            if let Origin::Board(name) = family.origin() {
                scrape.write(&family, &mut Writer::new(format, &mut encoder))?;
                by_family.insert(name, encoder.end_piece()?);
            }
        }
        let bytes = by_family.values().map(Piece::length).sum();
        Ok(Self { version: scrape.version(), by_family, bytes })
    }
}

impl Piece {
    fn length(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

impl Answer {
    /// Puts the answer to `scrape` together, of which `pieces` shows the board.
    pub(super) fn new(
        scrape: &Scrape,
        format: Format,
        encoding: Encoding,
        pieces: &Arc<Pieces>,
    ) -> Result<Self, fmt::Error> {
        let mut parts = Parts { encoder: Encoder::new(encoding), crc: Crc::new(), parts: Vec::new() };
        if encoding == Encoding::Gzip {
            parts.push_raw(&GZIP_HEAD);
        }
        for family in scrape.families() {
            match family.origin() {
                Origin::Board(name) => parts.push_board(name, pieces)?,
                Origin::Moment => scrape.write(&family, &mut Writer::new(format, &mut parts.encoder))?,
            }
        }
        Writer::new(format, &mut parts.encoder).finish()?;
        parts.end_moment()?;
        if encoding == Encoding::Gzip {
            let (sum, length) = (parts.crc.sum().to_le_bytes(), parts.crc.amount().to_le_bytes());
            parts.push_raw(&[&LAST_BLOCK[..], &sum, &length].concat());
        }
        let length = parts.parts.iter().map(|part| part.chunks(pieces).iter().map(Bytes::len).sum::<usize>());
        Ok(Self { length: length.sum::<usize>() as u64, parts: parts.parts.into(), pieces: Arc::downgrade(pieces) })
    }

    /// Returns a body that sends it.
    pub(super) fn body(self) -> AnswerBody {
        AnswerBody { rest: self.length, answer: self, part: 0, chunk: 0 }
    }
}

impl Part {
    fn chunks<'a>(&'a self, pieces: &'a Pieces) -> &'a [Bytes] {
        match self {
            Self::Board(name) => pieces.by_family.get(name).map_or(&[], |piece| &piece.chunks),
            Self::Moment(chunks) => chunks,
        }
    }
}

/// An answer that is being put together.
struct Parts {
    /// Holds what is of the moment and not among the parts yet.
    encoder: Encoder,
    crc: Crc,
    parts: Vec<Part>,
}

impl Parts {
    fn push_board(&mut self, name: &'static str, pieces: &Pieces) -> fmt::Result {
        if let Some(piece) = pieces.by_family.get(name).filter(|piece| !piece.is_empty()) {
            self.end_moment()?;
            self.crc.combine(&piece.crc);
            self.parts.push(Part::Board(name));
        }
        Ok(())
    }

    fn end_moment(&mut self) -> fmt::Result {
        let piece = self.encoder.end_piece()?;
        if !piece.is_empty() {
            self.crc.combine(&piece.crc);
            self.parts.push(Part::Moment(piece.chunks));
        }
        Ok(())
    }

    /// Adds bytes that are no text.
    fn push_raw(&mut self, bytes: &[u8]) {
        self.parts.push(Part::Moment(vec![Bytes::copy_from_slice(bytes)]));
    }
}

/// Makes pieces of text.
struct Encoder {
    /// `None` leaves the text as it is.
    deflate: Option<Compress>,
    text: String,
    deflated: Vec<u8>,
    piece: Piece,
}

impl Encoder {
    fn new(encoding: Encoding) -> Self {
        let deflate = (encoding == Encoding::Gzip).then(|| Compress::new(LEVEL, false));
        let text = String::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
        Self { deflate, text, deflated: Vec::new(), piece: Piece::default() }
    }

    /// Returns the text since the last piece.
    fn end_piece(&mut self) -> Result<Piece, fmt::Error> {
        if self.text.is_empty() && self.piece.crc.amount() == 0 {
            return Ok(Piece::default());
        }
        self.encode_text(FlushCompress::Sync)?;
        if !self.deflated.is_empty() {
            self.piece.chunks.push(Bytes::copy_from_slice(&self.deflated));
            self.deflated.clear();
        }
        // The next piece must not refer to what this one says: another answer joins it to something else.
        if let Some(deflate) = &mut self.deflate {
            deflate.reset();
        }
        Ok(std::mem::take(&mut self.piece))
    }

    fn encode_text(&mut self, flush: FlushCompress) -> fmt::Result {
        self.piece.crc.update(self.text.as_bytes());
        match &mut self.deflate {
            None if self.text.is_empty() => {}
            None => self.piece.chunks.push(Bytes::copy_from_slice(self.text.as_bytes())),
            Some(deflate) => {
                let mut rest = self.text.as_bytes();
                loop {
                    self.deflated.reserve(CHUNK_BYTES);
                    let before = deflate.total_in();
                    deflate.compress_vec(rest, &mut self.deflated, flush).map_err(|_error| fmt::Error)?;
                    rest = &rest[(deflate.total_in() - before) as usize..];
                    let has_room = self.deflated.len() < self.deflated.capacity();
                    if self.deflated.len() >= CHUNK_BYTES {
                        self.piece.chunks.push(Bytes::copy_from_slice(&self.deflated));
                        self.deflated.clear();
                    }
                    if rest.is_empty() && has_room {
                        break;
                    }
                }
            }
        }
        self.text.clear();
        Ok(())
    }
}

impl fmt::Write for Encoder {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.push_str(text);
        if self.text.len() >= CHUNK_BYTES { self.encode_text(FlushCompress::None) } else { Ok(()) }
    }
}

/// Sends an answer, chunk by chunk.
#[derive(Debug)]
pub(super) struct AnswerBody {
    answer: Answer,
    part: usize,
    chunk: usize,
    rest: u64,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.rest == 0 {
            return Poll::Ready(None);
        }
        let Some(pieces) = self.answer.pieces.upgrade() else {
            let reason = "the answer has been dropped: it was taken too slowly, and others were made since";
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, reason))));
        };
        while let Some(part) = self.answer.parts.get(self.part) {
            if let Some(chunk) = part.chunks(&pieces).get(self.chunk).cloned() {
                self.chunk += 1;
                self.rest -= chunk.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            (self.part, self.chunk) = (self.part + 1, 0);
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.rest == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest)
    }
}
