//! Times of the day and dates, as people write them.

/// What a time is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// That of the process.
    Local,
    /// UTC.
    Utc,
}

/// Year, month (1 to 12), day; hour, minute, second.
type Fields = [i32; 6];

impl Zone {
    /// The date and time of seconds since 1970.
    fn fields(self, at: i64) -> Fields {
        // SAFETY: all bytes of `tm` may be zero.
        let mut tm: libc::tm = unsafe { std::mem::zeroed() };
        let at: libc::time_t = at;
        // SAFETY: both pointers are to values that live through the call.
        unsafe {
            match self {
                Zone::Local => libc::localtime_r(&raw const at, &raw mut tm),
                Zone::Utc => libc::gmtime_r(&raw const at, &raw mut tm),
            }
        };
        of(&tm)
    }

    /// The seconds since 1970 of a date and time, and what it is in other words: the 31st of November is
    /// the 1st of December.
    fn seconds(self, [year, month, day, hour, minute, second]: Fields) -> (i64, Fields) {
        // SAFETY: all bytes of `tm` may be zero.
        let mut tm: libc::tm = unsafe { std::mem::zeroed() };
        (tm.tm_year, tm.tm_mon, tm.tm_mday) = (year - 1900, month - 1, day);
        (tm.tm_hour, tm.tm_min, tm.tm_sec) = (hour, minute, second);
        // Whether it is summer is looked up.
        tm.tm_isdst = -1;
        // SAFETY: the pointer is to a value that lives through the call.
        let at = unsafe {
            match self {
                Zone::Local => libc::mktime(&raw mut tm),
                Zone::Utc => libc::timegm(&raw mut tm),
            }
        };
        (at, of(&tm))
    }

    /// `2026-11-22 09:30:00`.
    pub(super) fn show(self, at: i64) -> String {
        let [year, month, day, hour, minute, second] = self.fields(at);
        format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

fn of(tm: &libc::tm) -> Fields {
    let date = [tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday];
    let [year, month, day] = date;
    [year, month, day, tm.tm_hour, tm.tm_min, tm.tm_sec]
}

/// A time, of a day or of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When {
    zone: Zone,
    date: Option<[i32; 3]>,
    time: [i32; 3],
}

/// `HH:MM:SS`, `YY-MM-DD HH:MM:SS` or `YYYY-MM-DD HH:MM:SS`, with `Z` for UTC.
pub(super) fn parse(text: &str) -> Option<When> {
    let (text, zone) = match text.strip_suffix('Z') {
        Some(text) => (text, Zone::Utc),
        None => (text, Zone::Local),
    };
    let three = |text: &str, sign: char| -> Option<[i32; 3]> {
        let parts: Vec<&str> = text.split(sign).collect();
        let digits = parts.iter().all(|p| p.bytes().all(|b| b.is_ascii_digit()));
        // Only a year may have four.
        let short = parts.iter().skip(1).all(|p| p.len() == 2);
        let numbers: Option<Vec<i32>> = parts.iter().map(|p| p.parse().ok()).collect();
        numbers.filter(|_| digits && short)?.try_into().ok()
    };
    let (date, time) = match (text.len(), text.split_once(' ')) {
        (8, None) => (None, text),
        (17 | 19, Some((date, time))) if time.len() == 8 => {
            let mut fields = three(date, '-')?;
            if date.len() == 8 {
                // As strptime(3) has it.
                fields[0] += if fields[0] < 69 { 2000 } else { 1900 };
            }
            (Some(fields), time)
        }
        _ => return None,
    };
    let time = three(time, ':')?;
    Some(When { zone, date, time })
}

impl When {
    /// Whether it is no certain day's.
    pub(super) fn is_daily(self) -> bool {
        self.date.is_none()
    }

    /// The second that is meant at `wall`, both since 1970: of a time of day the next one; None when
    /// there is none, as in the hour that summer time leaves out.
    pub(super) fn next(self, wall: i64) -> Option<i64> {
        let [hour, minute, second] = self.time;
        let [year, month, day] = self.date.unwrap_or_else(|| {
            let [year, month, day, ..] = self.zone.fields(wall);
            [year, month, day]
        });
        let on = |day| [year, month, day, hour, minute, second];
        let (at, same) = self.zone.seconds(on(day));
        if same != on(day) {
            return None;
        }
        if self.date.is_none() && at <= wall {
            return Some(self.zone.seconds(on(day + 1)).0);
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-30 23:30:00 UTC.
    const WALL: i64 = 1_796_081_400;

    #[test]
    fn the_formats_are_those_and_no_others() {
        for (text, date) in [
            ("23:59:58", None),
            ("26-11-22 23:59:58", Some([2026, 11, 22])),
            ("69-11-22 23:59:58", Some([1969, 11, 22])),
            ("2026-11-22 23:59:58", Some([2026, 11, 22])),
        ] {
            let time = [23, 59, 58];
            for (text, zone) in [
                (text.to_owned(), Zone::Local),
                (format!("{text}Z"), Zone::Utc),
            ] {
                assert_eq!(parse(&text), Some(When { zone, date, time }), "{text}");
            }
        }
        for text in [
            "",
            "Z",
            "23:59",
            " 3:59:58",
            "23:59:58 ",
            "+3:59:58",
            "23-59-58",
            "23:59:5é",
            "26-11-22T23:59:58",
            "26-11-22  3:59:58",
            "26-11-2223:59:58 ",
            "126-11-2 23:59:58",
            "2026-11-22 23:59:58z",
            "2026-11-22 23:59:581",
        ] {
            let daily = parse(text).and_then(|w| w.next(WALL));
            assert_eq!(daily, None, "{text}");
        }
    }

    #[test]
    fn a_time_of_day_is_the_next_one() {
        let next = |text: &str| parse(text).expect("a time").next(WALL);
        assert_eq!(next("23:30:01Z"), Some(WALL + 1));
        assert_eq!(next("23:30:00Z"), Some(WALL + 86_400));
        // In the next month.
        assert_eq!(next("00:00:00Z"), Some(WALL + 1800));
        assert_eq!(next("2026-11-30 23:30:00Z"), Some(WALL));
        assert_eq!(next("26-12-01 00:00:00Z"), Some(WALL + 1800));
        for text in [
            "24:00:00Z",
            "23:60:00Z",
            "23:30:60Z",
            "26-11-31 00:00:00Z",
            "26-13-01 00:00:00Z",
        ] {
            assert_eq!(next(text), None, "{text}");
        }
    }

    #[test]
    fn a_local_time_is_read_as_it_is_shown() {
        let later = WALL + 90_061;
        let text = Zone::Local.show(later);
        assert_eq!(
            parse(&text).expect("a time").next(WALL),
            Some(later),
            "{text}"
        );
        assert_eq!(Zone::Utc.show(WALL), "2026-11-30 23:30:00");
    }
}
