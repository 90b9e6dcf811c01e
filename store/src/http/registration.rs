//! A binding row as it is registered: what the interface document shows, of which the members of a call are not kept.

use std::fmt;

use privatenumber_contract::Binding;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, Visitor};

/// The members of the interface document's record that come from a CDR, or that the store itself writes. A row may carry them, whatever
/// they hold: a binding service that keeps the whole record sends the whole record.
const OF_THE_CALL: [&str; 6] = ["sessionId", "callinTime", "answerTime", "disconnectTime", "recordUrl", "updatedAt"];

/// The row, without the members of a call.
#[derive(Debug)]
pub(super) struct Registration(pub(super) Binding);

impl<'de> Deserialize<'de> for Registration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Row)
    }
}

struct Row;

impl<'de> Visitor<'de> for Row {
    type Value = Registration;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Registration, A::Error> {
        Binding::deserialize(MapAccessDeserializer::new(OfTheBinding(members))).map(Registration)
    }
}

/// The members that are not [`OF_THE_CALL`].
struct OfTheBinding<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for OfTheBinding<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, mut seed: K) -> Result<Option<K::Value>, A::Error> {
        loop {
            match self.0.next_key_seed(Name(seed))? {
                None => return Ok(None),
                Some(Ok(name)) => return Ok(Some(name)),
                Some(Err(unused)) => {
                    self.0.next_value::<IgnoredAny>()?;
                    seed = unused;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

/// Reads a name by what reads the names of a binding; gives that back where the name is not the binding's.
struct Name<K>(K);

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<K> {
    type Value = Result<K::Value, K>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Name<K> {
    type Value = Result<K::Value, K>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        if OF_THE_CALL.contains(&name) {
            return Ok(Err(self.0));
        }
        self.0.deserialize(name.into_deserializer()).map(Ok)
    }
}
