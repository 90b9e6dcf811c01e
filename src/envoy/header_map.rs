//! Header maps as the host hands them over: each is one block of bytes, which is looked into and not taken apart.
//!
//! The SDK makes two texts of every header, a tenth of what the VM does for a push, and panics at a status it does not expect.
#![expect(
    unsafe_code,
    reason = "two hostcalls are declared here, and the memory that the first of them fills is taken over"
)]

use proxy_wasm::types::MapType;

/// `proxy_status_t` of success.
const OK: u32 = 0;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: MapType, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_header_map_pairs(map: MapType, data: *const u8, size: usize) -> u32;
}

/// A copy of a header map.
///
/// Its form is the ABI's: the number of headers, the lengths of each one's name and value, then names and values, each
/// followed by a zero byte. Numbers are 32 bits, little-endian.
#[derive(Debug, Default)]
pub struct HeaderMap(Vec<u8>);

impl HeaderMap {
    /// Copies a map that exists; empty if the host has none.
    pub fn of(map: MapType) -> Self {
        let (mut data, mut size) = (std::ptr::null_mut(), 0);
        // SAFETY: both point to places of the types that the ABI writes.
        let status = unsafe { proxy_get_header_map_pairs(map, &mut data, &mut size) };
        if status != OK || data.is_null() {
            return Self::default();
        }
        // SAFETY: the host has got this memory from `proxy_on_memory_allocate`, in which the SDK makes a `Vec<u8>` of this
        // capacity; it has filled it and gives it away.
        Self(unsafe { Vec::from_raw_parts(data, size, size) })
    }

    /// Names and values in their order. A name that is not UTF-8, which no proxy lets in, is left out.
    pub fn pairs(&self) -> Vec<(&str, &[u8])> {
        self.read().unwrap_or_default()
    }

    fn read(&self) -> Option<Vec<(&str, &[u8])>> {
        let (count, rest) = number(&self.0)?;
        let (lengths, mut texts) = rest.split_at_checked(count.checked_mul(8)?)?;
        let mut pairs = Vec::with_capacity(count);
        for length in lengths.chunks_exact(8) {
            let (name_length, rest) = number(length)?;
            let (value_length, _) = number(rest)?;
            let (name, rest) = text(texts, name_length)?;
            let (value, rest) = text(rest, value_length)?;
            texts = rest;
            if let Ok(name) = std::str::from_utf8(name) {
                pairs.push((name, value));
            }
        }
        Some(pairs)
    }
}

/// Replaces a map that exists.
pub fn replace(map: MapType, pairs: &[(&str, &[u8])]) {
    let bytes = serialize(pairs);
    // SAFETY: the host reads this many bytes from there, and only before it returns. That it fails would mean that there is no
    // such map; then there is nothing to replace.
    let _ = unsafe { proxy_set_header_map_pairs(map, bytes.as_ptr(), bytes.len()) };
}

/// The ABI's form of a header map, see [`HeaderMap`].
pub fn serialize(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let texts: usize = pairs.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let mut bytes = Vec::with_capacity(4 + 8 * pairs.len() + texts);
    let mut write = |number: usize| bytes.extend_from_slice(&u32::try_from(number).unwrap_or_default().to_le_bytes());
    write(pairs.len());
    for (name, value) in pairs {
        write(name.len());
        write(value.len());
    }
    for (name, value) in pairs {
        for text in [name.as_bytes(), value] {
            bytes.extend_from_slice(text);
            bytes.push(0);
        }
    }
    bytes
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

/// A text and what follows its zero byte.
fn text(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(length)?;
    Some((text, rest.get(1..)?))
}
