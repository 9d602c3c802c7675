//! What TalkOver would deliver: a payload of about ten fields, made from one number and never kept.
//!
//! All attempts of a delivery have the same payload; only the order of its keys may differ. The people, numbers and
//! words in it are invented (telephone numbers 555-01xx are reserved for fiction). Used by `json`.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::clock::Moment;
use crate::random::Random;

/// A delivery's payload, which is generated while it is written.
pub(super) struct Payload<'a> {
    /// The number from which it is made.
    pub(super) seed: u64,
    /// The event's name.
    pub(super) event: &'a str,
    /// By how many places the keys are rotated.
    pub(super) turn: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PayloadValue {
    Text(String),
    Number(u64),
    Decimal(f64),
    Customer { name: &'static str, phone: String, tags: [&'static str; 2] },
}

const NAMES: [&str; 5] = ["Ada Lindqvist", "Björn Okafor", "Chloé Duarte", "Dmitri \"Mitja\" Sato", "Ève O'Neill"];
const LANGUAGES: [&str; 4] = ["en-US", "de-DE", "fr-FR", "es-MX"];
const SENTENCES: [&str; 4] = [
    "The caller asked when the order would arrive and was told the date.",
    "The caller wanted to move an appointment to Thursday afternoon.",
    "Nobody answered; a message with the number of the branch was left.",
    "The caller complained about an invoice and was connected to a colleague.",
];

impl Payload<'_> {
    fn fields(&self) -> [(&'static str, PayloadValue); 11] {
        let mut random = Random::stream(self.seed, &[]);
        let uuid =
            |random: &mut Random| super::log::ordered_uuid(Moment::from_micros(random.next() as i64 >> 12), random);
        let phone = |random: &mut Random| format!("+1202555{:04}", 100 + random.below(100));
        let pick = |random: &mut Random, from: &[&'static str]| from[random.below(from.len() as u64) as usize];
        let transcript = [pick(&mut random, &SENTENCES), pick(&mut random, &SENTENCES)].join(" ");
        let customer = PayloadValue::Customer {
            name: pick(&mut random, &NAMES),
            phone: phone(&mut random),
            tags: ["returning", pick(&mut random, &LANGUAGES)],
        };
        [
            ("event", PayloadValue::Text(self.event.to_owned())),
            ("call_id", PayloadValue::Text(uuid(&mut random))),
            ("conversation_id", PayloadValue::Text(uuid(&mut random))),
            ("direction", PayloadValue::Text(pick(&mut random, &["inbound", "outbound"]).to_owned())),
            ("from", PayloadValue::Text(phone(&mut random))),
            ("to", PayloadValue::Text(phone(&mut random))),
            ("language", PayloadValue::Text(pick(&mut random, &LANGUAGES).to_owned())),
            ("duration", PayloadValue::Number(random.below(900))),
            ("cost", PayloadValue::Decimal(random.below(90_000) as f64 / 10_000.0)),
            ("summary", PayloadValue::Text(transcript)),
            ("customer", customer),
        ]
    }
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = self.fields();
        let places = fields.len();
        fields.rotate_left(self.turn % places);
        let mut map = serializer.serialize_map(Some(places))?;
        for (key, value) in &fields {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}
