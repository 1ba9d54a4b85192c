//! Drawing the same picture again and again on a terminal.

/// How many rows the terminal on standard output has; none when it is no terminal.
#[must_use]
pub fn rows() -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one `winsize`, and `size` is one that outlives the call.
    let rc = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (rc == 0 && size.ws_row > 0).then_some(usize::from(size.ws_row))
}

/// The bytes that put `text` in place of the picture before, without flicker: lines are overwritten
/// and their rest cleared, long ones are cut by the terminal, and what does not fit into `rows` is
/// counted in the last one.
#[must_use]
pub fn frame(text: &str, rows: Option<usize>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let fit = rows.map_or(lines.len(), |r| r.saturating_sub(1).max(1));
    let (shown, left) = match lines.len() > fit {
        true => (&lines[..fit - 1], lines.len() - (fit - 1)),
        false => (&lines[..], 0),
    };
    let mut out = String::from("\x1b[H\x1b[?7l");
    for line in shown {
        out.push_str(line);
        out.push_str("\x1b[0m\x1b[K\n");
    }
    if left > 0 {
        out.push_str(&format!("({left} more lines)\x1b[K\n"));
    }
    out.push_str("\x1b[J\x1b[?7h");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_fits_the_screen() {
        let text = "a\nb\nc\n";
        assert_eq!(frame(text, None).matches('\n').count(), 3);
        assert_eq!(frame(text, Some(4)).matches('\n').count(), 3);
        let cut = frame(text, Some(3));
        assert!(
            cut.contains("a\x1b[0m") && cut.contains("(2 more lines)") && !cut.contains('c'),
            "{cut:?}"
        );
        for rows in 0..4 {
            assert!(frame(text, Some(rows)).matches('\n').count() <= rows.saturating_sub(1).max(1));
        }
    }
}
