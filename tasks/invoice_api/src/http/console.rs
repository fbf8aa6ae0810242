//! The console's files, built into the binary.

use super::problem::Problem;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

/// Nothing from elsewhere, no inline script, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Name, type and content of every file.
const FILES: [(&str, &str, &str); 9] = [
    ("console.js", SCRIPT, include_str!("../console/console.js")),
    ("api.js", SCRIPT, include_str!("../console/api.js")),
    ("dom.js", SCRIPT, include_str!("../console/dom.js")),
    ("invoice.js", SCRIPT, include_str!("../console/invoice.js")),
    ("live.js", SCRIPT, include_str!("../console/live.js")),
    ("business.js", SCRIPT, include_str!("../console/business.js")),
    ("pipeline.js", SCRIPT, include_str!("../console/pipeline.js")),
    ("console.css", STYLE, include_str!("../console/console.css")),
    ("uplot.css", STYLE, include_str!("../console/vendor/uplot/uPlot.min.css")),
];
const CHARTS: &str = include_str!("../console/vendor/uplot/uPlot.iife.min.js");

pub async fn index() -> Response {
    respond(HTML, include_str!("../console/index.html"))
}

pub async fn file(Path(name): Path<String>) -> Result<Response, Problem> {
    if name == "uplot.js" {
        return Ok(respond(SCRIPT, CHARTS));
    }
    let found = FILES.iter().find(|(known, _, _)| *known == name);
    let (_, kind, content) = found.ok_or_else(|| Problem::not_found("There is no such file."))?;
    Ok(respond(kind, content))
}

fn respond(kind: &'static str, content: &'static str) -> Response {
    let mut response = content.into_response();
    let headers = response.headers_mut();
    let set: [(HeaderName, &'static str); 4] = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in set {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_chart_library_is_the_one_that_its_readme_names() {
        let readme = include_str!("../console/vendor/uplot/README.md");
        let style = FILES.iter().find(|(name, _, _)| *name == "uplot.css").map_or("", |file| file.2);
        for (name, content) in [("uPlot.iife.min.js", CHARTS), ("uPlot.min.css", style)] {
            let sum: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(readme.contains(&format!("| `{name}` | `{sum}` |")), "{name} has the sum {sum}");
        }
    }
}
