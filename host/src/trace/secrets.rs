//! Which values are secret, and their removal from all that is shown.
//!
//! A value is secret by the name it goes by: of a header, of a member of a configuration or body, of a parameter of a
//! query or form; by where it stands, behind a scheme or before a URL's host; and all values of the guest's variables
//! are. Where such a value occurs elsewhere, in a log line or under a name of no meaning, it is masked there too, also
//! where it is escaped otherwise. Secrets are learned while the exchange runs, and masked when it is over.

mod credentials;
mod find;
mod learn;
mod mask;
mod members;
mod names;
mod readings;
#[cfg(test)]
mod tests;
mod text;

use std::collections::HashMap;

pub(super) use mask::Mask;
use names::Names;
use readings::readings;

/// The secrets that are known so far.
pub(super) struct Secrets {
    names: Names,
    /// What is masked, and by which number it goes in what is shown.
    needles: HashMap<Needle, usize>,
    /// The number of each value.
    numbers: HashMap<Vec<u8>, usize>,
    /// The last number.
    count: usize,
}

/// What is masked where it occurs.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Needle {
    bytes: Vec<u8>,
    /// So many bytes at its beginning are shown: a name, and what stands between it and the value.
    shown: usize,
}

/// Shorter values are masked only where they stand by themselves: as parts they would be in every other word.
const SHORT: usize = 4;

// === impl Secrets ===

impl Secrets {
    /// None yet; `names` are names of secrets besides those that are known.
    pub(super) fn new(names: &[String]) -> Self {
        Self {
            names: Names::new(names),
            needles: HashMap::new(),
            numbers: HashMap::new(),
            count: 0,
        }
    }

    /// What masks all that is known now.
    pub(super) fn mask(&self) -> Mask<'_> {
        Mask::new(self)
    }

    /// A value's number: that of another form of it, its own, or a new one.
    fn number(&mut self, value: &[u8]) -> usize {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        self.count += 1;
        self.numbers.insert(value.to_vec(), self.count);
        self.count
    }

    /// Masks a value wherever it occurs, in each way it may be read.
    fn add(&mut self, value: &[u8]) {
        if !value.is_empty() {
            let number = self.number(value);
            for reading in readings(value) {
                self.add_form(&reading.bytes, number);
            }
        }
    }

    /// Masks another form of the value of that number.
    fn add_form(&mut self, form: &[u8], number: usize) {
        if !form.is_empty() {
            self.numbers.entry(form.to_vec()).or_insert(number);
            let needle = Needle {
                bytes: form.to_vec(),
                shown: 0,
            };
            self.needles.entry(needle).or_insert(number);
        }
    }

    /// Masks a value only behind what it stands behind there.
    fn add_in_place(&mut self, bytes: &[u8], shown: usize) {
        let value = bytes.get(shown..).unwrap_or_default();
        if !value.is_empty() {
            let number = self.number(value);
            let bytes = bytes.to_vec();
            self.needles.insert(Needle { bytes, shown }, number);
        }
    }
}
