//! What the process holds in memory, so that a query ends before the machine does.

/// Anonymous memory of this process in bytes; mapped files can be dropped at any time and don't
/// count. None where the kernel does not tell.
pub fn held_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_holds_something() {
        if cfg!(target_os = "linux") {
            assert!(held_bytes().unwrap() > 100_000);
        }
    }
}
