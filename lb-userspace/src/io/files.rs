//! The real files behind a configuration.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::config::{FileSource, Unfit};
use crate::model::{Script, Trust};

/// The file system, the host's name, the environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFiles;

impl FileSource for RealFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|e| reason(&e))
    }

    fn glob(&self, pattern: &str) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        for p in braces(pattern) {
            if !p.contains(['*', '?', '[']) {
                // A plain name is always tried, so that it is named when it does not exist.
                match std::fs::metadata(&p) {
                    Ok(_) => out.push(p),
                    Err(e) => return Err(format!("`{p}`: {}", reason(&e))),
                }
                continue;
            }
            let found = glob::glob(&p).map_err(|e| e.to_string())?;
            out.extend(
                found
                    .filter_map(Result::ok)
                    .filter(|f| f.is_file())
                    .filter_map(|f| f.to_str().map(str::to_owned)),
            );
        }
        Ok(out)
    }

    fn hostname(&self) -> String {
        nix::unistd::gethostname()
            .ok()
            .and_then(|n| n.into_string().ok())
            .unwrap_or_default()
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn current_dir(&self) -> String {
        std::env::current_dir().map_or_else(|_| ".".to_owned(), |d| d.display().to_string())
    }

    fn random(&self) -> u64 {
        RandomState::new().build_hasher().finish()
    }

    fn unfit(&self, script: &Script, security: bool) -> Option<Unfit> {
        super::script::unfit(script, security)
    }

    fn unfit_tls(&self, trust: &Trust) -> Option<String> {
        super::check::vet_tls(trust).err()
    }

    fn has_cpu(&self, cpu: u16) -> bool {
        super::affinity::has(cpu)
    }
}

pub(super) fn reason(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => e.to_string(),
    }
}

/// Expands the first `{a,b}` of a pattern and, in what comes out, the next, as `csh` does.
fn braces(pattern: &str) -> Vec<String> {
    const MOST: usize = 1000;
    let mut done = Vec::new();
    let mut todo = vec![pattern.to_owned()];
    while let Some(p) = todo.pop() {
        let Some(open) = p.find('{').filter(|_| done.len() + todo.len() < MOST) else {
            done.push(p);
            continue;
        };
        let (mut depth, mut close, mut cuts) = (0usize, None, vec![open]);
        for (i, b) in p.bytes().enumerate().skip(open) {
            match b {
                b'{' => depth += 1,
                b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        close = Some(i);
                        break;
                    }
                }
                b',' if depth == 1 => cuts.push(i),
                _ => {}
            }
        }
        let Some(close) = close else {
            done.push(p);
            continue;
        };
        cuts.push(close);
        // The last alternative first, since the list is worked off from its end.
        for w in cuts.windows(2).rev() {
            todo.push(format!(
                "{}{}{}",
                &p[..open],
                &p[w[0] + 1..w[1]],
                &p[close + 1..]
            ));
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_expanded_in_order() {
        assert_eq!(braces("a{b,c{d,e}}f"), ["abf", "acdf", "acef"]);
        assert_eq!(braces("plain"), ["plain"]);
        assert_eq!(braces("open{a,b"), ["open{a,b"]);
    }

    #[test]
    fn a_missing_plain_name_is_an_error_and_an_empty_pattern_is_not() {
        assert!(RealFiles.glob("/nonexistent/a.conf").is_err());
        assert_eq!(RealFiles.glob("/nonexistent/*.conf"), Ok(Vec::new()));
    }
}
