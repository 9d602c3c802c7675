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

use crate::exposition::{ExpositionWriter, Format};
use crate::sinks::metrics::scrape::{FamilyOrigin, Scrape};

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
pub(super) enum AnswerEncoding {
    /// As text.
    Identity,
    /// `Content-Encoding: gzip`
    Gzip,
}

/// The pieces of one version of the board, in one format and encoding.
#[derive(Debug)]
pub(super) struct BoardPieces {
    version: u64,
    by_family: BTreeMap<&'static str, EncodedPiece>,
    bytes: usize,
}

/// Encoded text.
#[derive(Debug, Default)]
struct EncodedPiece {
    chunks: Vec<Bytes>,
    /// Of the text; it knows its length, too.
    crc: Crc,
}

/// An answer. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct ScrapeAnswer {
    parts: Arc<[AnswerPart]>,
    /// Held by the renderer alone: what a client leaves lying must not be kept for it.
    pieces: Weak<BoardPieces>,
    length: u64,
}

#[derive(Debug)]
enum AnswerPart {
    /// The piece of this family.
    Board(&'static str),
    Moment(Vec<Bytes>),
}

impl BoardPieces {
    /// Returns how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the version of the board that it shows.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Returns the pieces of `scrape`.
    pub(super) fn of(scrape: &Scrape, format: Format, encoding: AnswerEncoding) -> Result<Self, fmt::Error> {
        let mut encoder = PieceEncoder::new(encoding);
        let mut by_family = BTreeMap::new();
        for family in scrape.families() {
            if let FamilyOrigin::Board(name) = family.origin() {
                scrape.write(&family, &mut ExpositionWriter::new(format, &mut encoder))?;
                by_family.insert(name, encoder.end_piece()?);
            }
        }
        let bytes = by_family.values().map(EncodedPiece::length).sum();
        Ok(Self { version: scrape.version(), by_family, bytes })
    }
}

impl EncodedPiece {
    fn length(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

impl ScrapeAnswer {
    /// Puts the answer to `scrape` together, of which `pieces` shows the board.
    pub(super) fn new(
        scrape: &Scrape,
        format: Format,
        encoding: AnswerEncoding,
        pieces: &Arc<BoardPieces>,
    ) -> Result<Self, fmt::Error> {
        let mut parts = AnswerParts { encoder: PieceEncoder::new(encoding), crc: Crc::new(), parts: Vec::new() };
        if encoding == AnswerEncoding::Gzip {
            parts.push_raw(&GZIP_HEAD);
        }
        for family in scrape.families() {
            match family.origin() {
                FamilyOrigin::Board(name) => parts.push_board(name, pieces)?,
                FamilyOrigin::Moment => {
                    scrape.write(&family, &mut ExpositionWriter::new(format, &mut parts.encoder))?
                }
            }
        }
        ExpositionWriter::new(format, &mut parts.encoder).finish()?;
        parts.end_moment()?;
        if encoding == AnswerEncoding::Gzip {
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

impl AnswerPart {
    fn chunks<'a>(&'a self, pieces: &'a BoardPieces) -> &'a [Bytes] {
        match self {
            Self::Board(name) => pieces.by_family.get(name).map_or(&[], |piece| &piece.chunks),
            Self::Moment(chunks) => chunks,
        }
    }
}

/// An answer that is being put together.
struct AnswerParts {
    /// Holds what is of the moment and not among the parts yet.
    encoder: PieceEncoder,
    crc: Crc,
    parts: Vec<AnswerPart>,
}

impl AnswerParts {
    fn push_board(&mut self, name: &'static str, pieces: &BoardPieces) -> fmt::Result {
        if let Some(piece) = pieces.by_family.get(name).filter(|piece| !piece.is_empty()) {
            self.end_moment()?;
            self.crc.combine(&piece.crc);
            self.parts.push(AnswerPart::Board(name));
        }
        Ok(())
    }

    fn end_moment(&mut self) -> fmt::Result {
        let piece = self.encoder.end_piece()?;
        if !piece.is_empty() {
            self.crc.combine(&piece.crc);
            self.parts.push(AnswerPart::Moment(piece.chunks));
        }
        Ok(())
    }

    /// Adds bytes that are no text.
    fn push_raw(&mut self, bytes: &[u8]) {
        self.parts.push(AnswerPart::Moment(vec![Bytes::copy_from_slice(bytes)]));
    }
}

/// Makes pieces of text.
struct PieceEncoder {
    /// `None` leaves the text as it is.
    deflate: Option<Compress>,
    text: String,
    deflated: Vec<u8>,
    piece: EncodedPiece,
}

impl PieceEncoder {
    fn new(encoding: AnswerEncoding) -> Self {
        let deflate = (encoding == AnswerEncoding::Gzip).then(|| Compress::new(LEVEL, false));
        let text = String::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
        Self { deflate, text, deflated: Vec::new(), piece: EncodedPiece::default() }
    }

    /// Returns the text since the last piece.
    fn end_piece(&mut self) -> Result<EncodedPiece, fmt::Error> {
        if self.text.is_empty() && self.piece.crc.amount() == 0 {
            return Ok(EncodedPiece::default());
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

impl fmt::Write for PieceEncoder {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.push_str(text);
        if self.text.len() >= CHUNK_BYTES { self.encode_text(FlushCompress::None) } else { Ok(()) }
    }
}

/// Sends an answer, chunk by chunk.
#[derive(Debug)]
pub(super) struct AnswerBody {
    answer: ScrapeAnswer,
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
