//! When a master sends gratuitous ARPs.

use std::time::Duration;

use crate::model::VrrpInstance;
use crate::time::Time;

/// Why a block of gratuitous ARPs is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// `garp_master_delay` after becoming master.
    Delay,
    /// An advert of another router was heard.
    Answer,
    /// A while after that, or after becoming master beside another: what it sent meanwhile is overwritten.
    Settle,
    /// `garp_lower_prio_delay` after that.
    AnswerDelay,
    /// `garp_master_refresh`.
    Refresh,
    /// `garp_extra_if`.
    Extra,
}

impl Block {
    const ALL: [Block; 6] = [
        Block::Delay,
        Block::Answer,
        Block::Settle,
        Block::AnswerDelay,
        Block::Refresh,
        Block::Extra,
    ];

    /// After how long it follows itself.
    fn again(self, config: &VrrpInstance) -> Option<Duration> {
        match self {
            Block::Refresh => {
                let every = config.garp_master_refresh;
                (!every.is_zero()).then_some(every)
            }
            Block::Extra => config.garp_extra_if.map(|extra| extra.every),
            Block::Delay | Block::Answer | Block::Settle | Block::AnswerDelay => None,
        }
    }

    /// How many ARPs for each address.
    pub(super) fn repeat(self, config: &VrrpInstance) -> u32 {
        match self {
            Block::Delay => config.garp_master_repeat,
            Block::Answer => config.garp_lower_prio_repeat.max(1),
            Block::Settle | Block::Extra => 1,
            Block::AnswerDelay => config.garp_lower_prio_repeat,
            Block::Refresh => config.garp_master_refresh_repeat,
        }
    }
}

/// How long after that the clients' view is settled once more.
const SETTLE: Duration = Duration::from_millis(100);

/// A refresh comes with every so many adverts at the latest. Two masters that hear each other again after
/// a partition: a loser that says nothing more is not answered, and the clients go on to ask it.
const REFRESH_ADVERTS: u32 = 10;

/// The times of the blocks of one master.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    due: [Option<Time>; Block::ALL.len()],
    last_answer: Option<Time>,
    last_refresh: Time,
    /// Which address the next refresh begins with.
    pub(super) cursor: usize,
}

impl Schedule {
    /// For an instance that becomes master now; the first block goes out as the addresses come.
    pub(super) fn new(config: &VrrpInstance, now: Time) -> Self {
        let mut schedule = Schedule {
            due: [None; Block::ALL.len()],
            last_answer: None,
            last_refresh: now,
            cursor: 0,
        };
        if !config.garp_master_delay.is_zero() {
            schedule.set(Block::Delay, now + config.garp_master_delay);
        }
        schedule.retime(config, now);
        schedule
    }

    /// A new configuration: what goes out from time to time is not late, and stops with its word.
    pub(super) fn retime(&mut self, config: &VrrpInstance, now: Time) {
        for block in [Block::Refresh, Block::Extra] {
            let due = block.again(config).map(|every| now + every);
            let slot = &mut self.due[block as usize];
            *slot = due.map(|due| slot.map_or(due, |at| at.min(due)));
        }
    }

    fn set(&mut self, block: Block, at: Time) {
        self.due[block as usize] = Some(at);
    }

    /// Another router's advert was heard.
    pub(super) fn answer(&mut self, config: &VrrpInstance, gap: Duration, now: Time) {
        let earliest = self.last_answer.map_or(now, |last| (last + gap).max(now));
        let slot = &mut self.due[Block::Answer as usize];
        *slot = Some(slot.map_or(earliest, |at| at.min(earliest)));
        self.settle(now);
        if !config.garp_lower_prio_delay.is_zero() {
            self.set(Block::AnswerDelay, now + config.garp_lower_prio_delay);
        }
    }

    /// Another router may be announcing the addresses at `now`.
    pub(super) fn settle(&mut self, now: Time) {
        self.set(Block::Settle, now + SETTLE);
    }

    /// The next block that is due, taken out of the schedule.
    pub(super) fn take_due(&mut self, config: &VrrpInstance, now: Time) -> Option<Block> {
        let block = Block::ALL
            .into_iter()
            .find(|b| self.due[*b as usize].is_some_and(|at| at <= now))?;
        self.due[block as usize] = block.again(config).map(|every| now + every);
        if block == Block::Answer {
            self.last_answer = Some(now);
        }
        Some(block)
    }

    /// Whether an advert of the timer is to be followed by a refresh.
    pub(super) fn refresh_with_advert(
        &mut self,
        config: &VrrpInstance,
        every: Duration,
        now: Time,
    ) -> bool {
        let every = every.min(config.advert_int * REFRESH_ADVERTS);
        // A tenth less, or a timer that is a little early makes it every second advert.
        let due = config.garp_master_refresh.is_zero()
            && !every.is_zero()
            && now.since(self.last_refresh) >= every - every / 10;
        if due {
            self.last_refresh = now;
        }
        due
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.due.iter().copied().flatten().min()
    }
}
