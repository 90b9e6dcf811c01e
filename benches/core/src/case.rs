//! What is measured: a part of a push's way, for a push of a certain size.

use std::fmt;
use std::hint::black_box;
use std::rc::Rc;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use private_number_gateway::config::Config;
use privatenumber_cdr::{Charset, Contents, Reader, decode};

use crate::input::{ARRIVAL, Input, SIZES, Scheme, Setting, Shape};
use crate::worker::{Step, Worker};

/// A part of a push's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Checks the credentials alone.
    Authenticate,
    /// Decodes and reads the body, which reshapes every CDR, without encoding anything.
    Read,
    /// These steps and those between them.
    Steps(Step, Step),
}

/// A part of a push's way under a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    name: &'static str,
    work: Work,
    scheme: Scheme,
    setting: Setting,
    /// How many pushes of one CDR are asked for in one batch; larger ones are asked for alone.
    batch: usize,
    sizes: &'static [usize],
}

const fn part(name: &'static str, work: Work) -> Part {
    Part { name, work, scheme: Scheme::Aksk, setting: Setting::SHIPPED, batch: 16, sizes: &SIZES }
}

const WHOLE: Work = Work::Steps(Step::Headers, Step::Outcomes);
const SIGNED: Setting = Setting { signed_callbacks: true, ..Setting::SHIPPED };

/// In the order of a push's way.
const PARTS: [Part; 12] = [
    Part { sizes: &[1], ..part("authenticate-aksk", Work::Authenticate) },
    Part { sizes: &[1], scheme: Scheme::Wsse, ..part("authenticate-wsse", Work::Authenticate) },
    Part { sizes: &[1], ..part("headers", Work::Steps(Step::Headers, Step::Headers)) },
    part("read", Work::Read),
    part("request", Work::Steps(Step::Request, Step::Request)),
    part("ask", Work::Steps(Step::Ask, Step::Ask)),
    part("answer", Work::Steps(Step::Answer, Step::Answer)),
    Part { setting: SIGNED, ..part("answer-signed", Work::Steps(Step::Answer, Step::Answer)) },
    part("outcomes", Work::Steps(Step::Outcomes, Step::Outcomes)),
    part("push", WHOLE),
    Part { batch: 1, setting: Setting { passes: true, ..Setting::SHIPPED }, ..part("push-pass", WHOLE) },
    Part {
        sizes: &[1],
        setting: Setting { businesses: 1_000, ..Setting::SHIPPED },
        ..part("push-1000-businesses", WHOLE)
    },
];

/// A part of the way of a push of one size. Written `push/50`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    part: Part,
    /// How many CDRs the push has.
    pub size: usize,
}

impl Case {
    /// All there are, in the order of a push's way.
    pub fn all() -> impl Iterator<Item = Self> {
        PARTS.into_iter().flat_map(|part| part.sizes.iter().map(move |size| Self { part, size: *size }))
    }

    /// The part's name, such as `push`.
    pub fn name(&self) -> &'static str {
        self.part.name
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.part.name, self.size)
    }
}

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::all().find(|case| case.to_string() == text).ok_or_else(|| {
            let known: Vec<_> = Self::all().map(|case| case.to_string()).collect();
            anyhow!("there is no case `{text}`; there are {}", known.join(", "))
        })
    }
}

/// A case with all it needs: workers that have each seen pushes before, one for each batch that is measured at a stretch.
pub struct Bench {
    work: Work,
    config: Rc<Config>,
    input: Input,
    workers: Vec<Worker>,
}

impl Bench {
    /// How many calls are under way at most while something is measured.
    const CALLS_AT_A_STRETCH: usize = 200;

    /// Prepares a case.
    ///
    /// # Errors
    /// A fixture does not fit the filter.
    pub fn new(case: &Case) -> Result<Self> {
        let Part { work, scheme, setting, batch, .. } = case.part;
        let config = setting.config()?;
        let pushes = if case.size == 1 && matches!(work, Work::Steps(..)) { batch } else { 1 };
        let count = (Self::CALLS_AT_A_STRETCH / case.size / pushes / setting.businesses).max(1);
        let mut bench = Self {
            work,
            input: Input::new(Shape { size: case.size, pushes }, scheme, setting.passes)?,
            workers: (0..count).map(|_| Worker::new(&config)).collect(),
            config,
        };
        let Self { input, workers, .. } = &mut bench;
        for worker in workers {
            Step::ALL.into_iter().try_for_each(|step| worker.step(step, input))?;
        }
        Ok(bench)
    }

    /// How many pushes are measured at a stretch.
    pub fn stretch(&self) -> usize {
        self.workers.len() * self.input.bodies.len()
    }

    /// The workers, to see what has come of the pushes.
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// Takes the pushes of every worker to where the measured part begins.
    ///
    /// # Errors
    /// A step did not do its work.
    pub fn prepare(&mut self) -> Result<()> {
        match self.work {
            Work::Authenticate | Work::Read => Ok(()),
            Work::Steps(first, _) => self.steps(|step| step < first),
        }
    }

    /// The measured part, for every worker.
    ///
    /// # Errors
    /// It did not do its work.
    pub fn run(&mut self) -> Result<()> {
        counted(self)
    }

    /// Takes the pushes to their end.
    ///
    /// # Errors
    /// A step did not do its work, or something is pending in the end.
    pub fn finish(&mut self) -> Result<()> {
        match self.work {
            Work::Authenticate | Work::Read => Ok(()),
            Work::Steps(_, last) => self.steps(|step| step > last),
        }?;
        if self.workers.iter().all(Worker::is_idle) { Ok(()) } else { bail!("something is pending after a push") }
    }

    fn steps(&mut self, chosen: impl Fn(Step) -> bool) -> Result<()> {
        let Self { input, workers, .. } = self;
        for worker in workers {
            for step in Step::ALL.into_iter().filter(|step| chosen(*step)) {
                worker.step(step, input)?;
            }
        }
        Ok(())
    }
}

/// Whatever this calls is counted, and nothing else: valgrind finds it by its name.
#[inline(never)]
pub fn counted(bench: &mut Bench) -> Result<()> {
    let Bench { work, config, input, workers } = bench;
    for worker in workers {
        match *work {
            Work::Authenticate => authenticate(config, input)?,
            Work::Read => read(config, input)?,
            Work::Steps(first, last) => {
                for step in Step::ALL.into_iter().filter(|step| (first..=last).contains(step)) {
                    worker.step(step, input)?;
                }
            }
        }
    }
    Ok(())
}

fn authenticate(config: &Config, input: &Input) -> Result<()> {
    let pairs = black_box(&input.headers).iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    let application = config.authenticator.authenticate(pairs, ARRIVAL.wall_ms);
    black_box(application.map_err(|refusal| anyhow!("the push is refused: {refusal}"))?);
    Ok(())
}

fn read(config: &Config, input: &Input) -> Result<()> {
    let body = input.bodies.first().context("no push")?;
    let text = decode(black_box(body), Charset::Utf8);
    let application = config.authenticator.application("demoAppKey000000000000000001").context("no application")?;
    let reader = Reader {
        app_key: &application.app_key,
        ak: application.ak.as_deref(),
        claim_deadline: ARRIVAL.wall_ms.saturating_add_unsigned(config.store.claim_deadline_ms),
        ttl_ms: config.store.claim_deadline_ms,
    };
    match reader.read(&text) {
        Ok(Contents::Calls { calls, parked, .. }) if calls.len() == input.calls && parked.is_empty() => {
            black_box(calls);
            Ok(())
        }
        other => bail!("the push of {} calls is read as {other:?}", input.calls),
    }
}
