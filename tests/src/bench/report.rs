//! The figures, for people and as JSON.

use std::fmt;

use super::{Case, Order, Target};

/// One case.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Row {
    /// The case.
    pub case: &'static str,
    /// Whether its flows come in scattered order.
    pub scattered: bool,
    /// Median of the driver with a program that does nothing, ns a packet: subtracted from the rest.
    pub driver: f64,
    /// Net ns a packet, and the whole range of its runs.
    pub programs: Vec<Net>,
}

/// A program in a case.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Net {
    /// Its name.
    pub program: &'static str,
    /// Median less the driver's, ns a packet.
    pub net: f64,
    /// Fastest run less the driver's median.
    pub min: f64,
    /// Slowest run less the driver's median.
    pub max: f64,
}

impl Row {
    /// From the times of each run, in the order of [`Target::ALL`].
    #[must_use]
    pub fn new(case: &Case, mut times: [Vec<f64>; Target::ALL.len()]) -> Row {
        for times in &mut times {
            times.sort_by(f64::total_cmp);
        }
        let median = |t: &[f64]| t.get(t.len() / 2).copied().unwrap_or(f64::NAN);
        let times = |target: Target| {
            let at = Target::ALL.iter().position(|t| *t == target);
            at.map_or(&[][..], |at| &times[at])
        };
        let driver = median(times(Target::Nothing));
        // The driver takes the outer header off again, which is not the balancer's: half of what
        // making room costs both.
        let again = match median(times(Target::Room)) {
            room if room.is_nan() => 0.0,
            room => (room - driver) / 2.0,
        };
        let none = |target| match target {
            Target::Balance => driver + again,
            Target::Direct => median(times(Target::Idle)),
            Target::Nothing | Target::Room | Target::Swap | Target::Lookup | Target::Idle => driver,
        };
        let programs = [
            Target::Swap,
            Target::Lookup,
            Target::Direct,
            Target::Balance,
        ]
        .into_iter()
        .filter_map(|target| {
            let (times, none) = (times(target), none(target));
            Some(Net {
                program: target.name(),
                net: median(times) - none,
                min: times.first()? - none,
                max: times.last()? - none,
            })
        })
        .collect();
        Row {
            case: case.name,
            scattered: case.order == Order::Scattered,
            driver,
            programs,
        }
    }

    /// Net ns of a program.
    #[must_use]
    pub fn net(&self, target: Target) -> f64 {
        self.programs
            .iter()
            .find(|p| p.program == target.name())
            .map_or(f64::NAN, |p| p.net)
    }
}

/// All cases.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// In the order in which they were measured.
    pub rows: Vec<Row>,
}

/// The head of the table.
pub const HEAD: &str = "net ns a packet                   swap+send    lookup   balance   min..max          / lookup  / direct";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [swap, lookup, direct, whole] = [
            Target::Swap,
            Target::Lookup,
            Target::Direct,
            Target::Balance,
        ]
        .map(|target| self.net(target));
        let (min, max) = self
            .programs
            .iter()
            .find(|p| p.program == Target::Balance.name())
            .map_or((f64::NAN, f64::NAN), |p| (p.min, p.max));
        let range = format!("{min:.1}..{max:.1}");
        write!(
            f,
            "{:<32}{swap:>11.1}{:>10}{whole:>10.1}   {range:<14}{:>12}{:>10}",
            self.case,
            number(lookup, 1),
            number(whole / lookup, 2),
            number(whole / direct, 2),
        )
    }
}

/// A number, or a dash where nothing was measured.
fn number(value: f64, digits: usize) -> String {
    if value.is_nan() {
        "-".to_owned()
    } else {
        format!("{value:.digits$}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_counts_less_the_drivers() {
        let row = Row::new(
            &super::super::CASES[0],
            [
                vec![5.0, 4.0, 9.0],
                Vec::new(),
                vec![7.0, 7.5, 6.0],
                vec![10.0; 3],
                Vec::new(),
                Vec::new(),
                vec![20.0, 19.0, 30.0],
            ],
        );
        assert_eq!(
            (row.driver, row.net(Target::Swap), row.net(Target::Balance)),
            (5.0, 2.0, 15.0)
        );
        assert_eq!((row.programs[2].min, row.programs[2].max), (14.0, 25.0));
    }
}
