//! Hostcalls that may fail without anything being wrong. The SDK panics at a status it does not expect.
#![expect(unsafe_code, reason = "two hostcalls are declared here")]

use proxy_wasm::types::BufferType;

/// `proxy_close_stream` of the response.
const RESPONSE: u32 = 1;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_set_buffer_bytes(buffer: BufferType, start: usize, size: usize, data: *const u8, length: usize) -> u32;
    fn proxy_close_stream(stream: u32) -> u32;
}

/// Replaces a body of `size` bytes: the whole of it, for Envoy takes nothing else. There must have been a call of its body
/// callback; otherwise Envoy has no buffer, and nothing happens.
pub fn replace_body(buffer: BufferType, size: usize, body: &[u8]) {
    // SAFETY: the host reads this many bytes from there, and only before it returns.
    let _ = unsafe { proxy_set_buffer_bytes(buffer, 0, size, body.as_ptr(), body.len()) };
}

/// Ends the stream without the rest of its response, once this call into the VM is over.
pub fn reset_response() {
    // SAFETY: nothing is passed but a number of the ABI.
    let _ = unsafe { proxy_close_stream(RESPONSE) };
}
