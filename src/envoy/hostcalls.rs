//! Hostcalls that may fail without anything being wrong. The SDK panics at a status it does not expect.
#![expect(unsafe_code, reason = "four hostcalls are declared here")]

use proxy_wasm::types::BufferType;

use super::header_map;

/// `proxy_close_stream` of the response.
const RESPONSE: u32 = 1;
/// `proxy_status_t` of success.
const OK: u32 = 0;
/// No status of gRPC.
const NO_GRPC_STATUS: i32 = -1;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_set_buffer_bytes(buffer: BufferType, start: usize, size: usize, data: *const u8, length: usize) -> u32;
    fn proxy_close_stream(stream: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
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

/// Makes that context the one that further hostcalls concern. `false` if it is gone.
pub fn set_effective_context(context: u32) -> bool {
    // SAFETY: nothing is passed but a number.
    unsafe { proxy_set_effective_context(context) == OK }
}

/// Answers the stream of the effective context, once this call into the VM is over. `details` shows in access logs as
/// `%RESPONSE_CODE_DETAILS%`. Nothing happens where the stream cannot be answered any more.
pub fn send_local_response(status: u16, details: &str, headers: &[(&str, &str)], body: &[u8]) {
    let pairs: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let map = header_map::serialize(&pairs);
    // SAFETY: the host reads these many bytes from there, and only before it returns.
    let _ = unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            map.as_ptr(),
            map.len(),
            NO_GRPC_STATUS,
        )
    };
}
