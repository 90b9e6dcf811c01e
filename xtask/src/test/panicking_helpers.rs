//! A trap in the filter takes its whole VM along, and some helpers of the proxy-wasm SDK panic on what anybody may send.
//!
//! The text getters panic on bytes that are not UTF-8; the getters of one header also where there are no headers at all, as
//! in a failed callout. `hostcalls` has forms of all of them that return bytes and errors.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use harness::products;

/// Calls that must not stand in the filter's sources.
const FORBIDDEN: [&str; 20] = [
    ".get_http_request_header(",
    ".get_http_request_header_bytes(",
    ".get_http_request_headers(",
    ".get_http_request_trailer(",
    ".get_http_request_trailers(",
    ".get_http_response_header(",
    ".get_http_response_header_bytes(",
    ".get_http_response_headers(",
    ".get_http_response_trailer(",
    ".get_http_response_trailers(",
    ".get_http_call_response_header(",
    ".get_http_call_response_header_bytes(",
    ".get_http_call_response_headers(",
    ".get_http_call_response_trailer(",
    ".get_http_call_response_trailers(",
    "hostcalls::get_map(",
    "hostcalls::get_map_value(",
    "hostcalls::get_grpc_status(",
    ".get_property(",
    ".set_property(",
];

/// Looks for them.
///
/// # Errors
///
/// Where they stand.
pub fn check() -> Result<()> {
    let mut found = Vec::new();
    let looked_at = look(&products::repository().join("src"), &mut found)?;
    if looked_at == 0 {
        bail!("there are no sources of the filter to look at");
    }
    if !found.is_empty() {
        bail!(
            "these panic on what anybody may send; use the forms of `hostcalls` that return bytes and errors:\n{}",
            found.join("\n")
        );
    }
    Ok(())
}

fn look(directory: &Path, found: &mut Vec<String>) -> Result<usize> {
    let mut looked_at = 0;
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry.context("cannot read a directory's entry")?.path();
        if path.is_dir() {
            looked_at += look(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            found.extend(offences(&text).map(|(line, call)| format!("{}:{line}: {call}", path.display())));
            looked_at += 1;
        }
    }
    Ok(looked_at)
}

fn offences(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    lines.flat_map(|(index, line)| {
        FORBIDDEN.iter().filter(move |call| line.contains(**call)).map(move |call| (index + 1, *call))
    })
}

#[cfg(test)]
mod tests {
    use super::offences;

    #[test]
    fn p6_the_panicking_getters_are_found_and_the_safe_ones_are_not() {
        let text = "let a = self.get_http_request_header(\":path\");\n\
            // self.get_http_request_header(\":path\")\n\
            let b = self.get_http_request_headers_bytes();\n\
            let c = hostcalls::get_map_bytes(MapType::HttpRequestHeaders)?;\n";
        assert_eq!(offences(text).collect::<Vec<_>>(), [(1, ".get_http_request_header(")]);
    }
}
