//! The front door: bytes in, verdicts out.

use super::judge::{Explained, Hints, judge};
use super::ledger::Ledger;
use super::reader::{About, Kind, Reader, Unreadable};
use super::skew::CapturedSkew;

/// Explains a capture that is pushed in piece by piece.
#[derive(Clone)]
pub struct Explainer {
    reader: Reader,
    ledger: Ledger,
}

/// What a capture shows.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// What it is.
    pub kind: Kind,
    /// How many exchanges it holds.
    pub exchanges: usize,
    /// The refused ones with their verdicts, in the capture's order.
    pub verdicts: Vec<Explained>,
    /// How far the capturing machine's clock was from the hosts', where that shows.
    pub clocks: Vec<CapturedSkew>,
    /// What is worth knowing of the capture as a whole, one sentence each.
    pub notes: Vec<String>,
}

impl Explainer {
    /// An explainer that has read nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { reader: Reader::new(), ledger: Ledger::default() }
    }

    /// Reads the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut exchanges = Vec::new();
        for piece in bytes.chunks(PIECE) {
            self.reader.push(piece, &mut exchanges);
            exchanges.drain(..).for_each(|exchange| self.ledger.enter(exchange));
        }
    }

    /// Judges what was read.
    ///
    /// # Errors
    /// If there is nothing of HTTP in it, why.
    pub fn end(mut self, hints: &Hints) -> Result<Explanation, Unreadable> {
        let mut exchanges = Vec::new();
        let about = self.reader.end(&mut exchanges)?;
        exchanges.into_iter().for_each(|exchange| self.ledger.enter(exchange));
        if self.ledger.exchanges == 0 {
            return Err(match about.kind {
                Kind::CurlLog | Kind::Messages => Unreadable::NoAnswer(about.gave_up),
                Kind::Archive => Unreadable::NoAnswerInArchive(about.whole.unwrap_or(0), about.is_torn),
                Kind::Prose | Kind::ErrorObject => Unreadable::NoHttp,
            });
        }
        let notes = notes(&about, &self.ledger);
        Ok(Explanation {
            kind: about.kind,
            exchanges: self.ledger.exchanges,
            verdicts: judge(&self.ledger, about.hides_credentials, hints),
            clocks: self.ledger.clocks.all(),
            notes,
        })
    }
}

impl Default for Explainer {
    fn default() -> Self {
        Self::new()
    }
}

fn notes(about: &About, ledger: &Ledger) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(creator) = &about.creator {
        notes.push(format!("it was written by {creator}"));
    }
    if about.was_utf16 {
        notes.push("it is UTF-16, as PowerShell writes it".to_owned());
    }
    if about.is_torn {
        let whole = about.whole.unwrap_or(0);
        notes.push(format!("it ends in the middle, after {whole} whole entries: what came after is not known"));
    }
    if !ledger.has_dates {
        notes.push("no answer has a Date, so the server's clock is not known".to_owned());
    }
    if about.has_quarters {
        notes.push(
            "its times have no zone: a clock that is wrong by whole quarters of an hour cannot be told from another zone"
                .to_owned(),
        );
    }
    if ledger.left_out > 0 {
        notes.push(format!("{} more refusals were counted and not judged", ledger.left_out));
    }
    notes
}

/// How much is read before what was found is entered.
const PIECE: usize = 16 << 10;

#[cfg(test)]
mod tests;
