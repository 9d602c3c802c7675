//! The bytes of scrape responses. Families that depend only on the board are encoded once, as pieces that all responses
//! of the same version share; families that change from scrape to scrape are encoded anew and put in between.
//!
//! A compressed response is one gzip member (RFC 1952): each piece is deflated on its own and ends at a byte border, so
//! pieces can be concatenated. Called by [`super::renderer`], which decides how long pieces are kept.

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

/// The size of the chunks in which a response is sent. A stalled connection holds only a few of them.
const CHUNK_BYTES: usize = 32 * 1024;
/// Networks are fast and the machine may be busy: level 3 takes a third of the time of level 6, for a few per cent more
/// bytes.
const LEVEL: Compression = Compression::new(3);
/// The header of a gzip member: deflated, without file name and time, operating system unknown.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// The final block of a deflate stream, empty.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// How a response is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerEncoding {
    /// Plain text.
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
    /// The CRC of the text, which also counts its length.
    crc: Crc,
}

/// The response to a scrape. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct ScrapeAnswer {
    parts: Arc<[AnswerPart]>,
    /// Weak, because only the renderer keeps pieces alive: a client that does not read must not.
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
    /// Returns the size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the version of the board that it shows.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Encodes the pieces of `scrape`.
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
    /// Assembles the response to `scrape`; `pieces` are the encoded families of its board.
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

    /// Returns a body that sends the response.
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

/// A response that is being assembled.
struct AnswerParts {
    /// Encodes what changes from scrape to scrape, until it becomes a part.
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

    /// Adds bytes that are not text.
    fn push_raw(&mut self, bytes: &[u8]) {
        self.parts.push(AnswerPart::Moment(vec![Bytes::copy_from_slice(bytes)]));
    }
}

/// Encodes text into pieces.
struct PieceEncoder {
    /// `None` for plain text.
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

    /// Returns what was written since the last piece.
    fn end_piece(&mut self) -> Result<EncodedPiece, fmt::Error> {
        if self.text.is_empty() && self.piece.crc.amount() == 0 {
            return Ok(EncodedPiece::default());
        }
        self.encode_text(FlushCompress::Sync)?;
        if !self.deflated.is_empty() {
            self.piece.chunks.push(Bytes::copy_from_slice(&self.deflated));
            self.deflated.clear();
        }
        // The next piece must not refer back into this one: another response may put something else before it.
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

/// Sends a response chunk by chunk.
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
            let reason = "the response was dropped: the client read it too slowly";
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
