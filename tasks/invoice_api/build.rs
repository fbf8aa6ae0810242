//! Copies the console's chart library out of its npm package, which `scripts/setup.sh build` fetches.

use std::path::PathBuf;
use std::{env, fs};

const VERSION: &str = "1.6.32";
const FILES: [(&str, &str); 2] = [("uPlot.iife.min.js", "uplot.js"), ("uPlot.min.css", "uplot.css")];

fn main() -> Result<(), String> {
    for name in ["INVOICE_TOOLS", "XDG_CACHE_HOME", "HOME"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    let tools = folder("INVOICE_TOOLS").or_else(|| cache.map(|cache| cache.join("invoice-platform")));
    let tools = tools.ok_or("neither INVOICE_TOOLS nor HOME is set")?;
    let package = tools.join(format!("npm/uplot-{VERSION}"));
    let output = folder("OUT_DIR").ok_or("OUT_DIR is not set")?;
    for (from, to) in FILES {
        let from = package.join("dist").join(from);
        println!("cargo:rerun-if-changed={}", from.display());
        let copied = fs::copy(&from, output.join(to));
        copied.map_err(|error| {
            format!("the chart library is not at {} ({error}): run scripts/setup.sh build", from.display())
        })?;
    }
    Ok(())
}
