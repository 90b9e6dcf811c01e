//! What a seed is about: how many gateways, which businesses, which calls, which configurations.

use std::collections::BTreeSet;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow};
use private_number_gateway::config::Config;
use privatenumber_contract::{CallKey, Private};
use privatenumber_sim::huawei::{Scheme, Signer, Stamp};
use serde_json::{Value, json};

use crate::random::Random;

/// Wall-clock time at the beginning of every run, epoch milliseconds.
pub const EPOCH_MS: i64 = 1_767_580_000_000;

/// From this concurrency on a business never makes its own callbacks wait.
pub const UNBOUNDED: usize = 1_000;

/// How a business behaves, beside the faults that are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// As businesses should.
    Good,
    /// Every answer takes half its time-out.
    Slow,
    /// Nobody listens, or takes requests and never answers.
    Dead,
}

/// One business.
#[derive(Clone, Debug)]
pub struct Business {
    /// Its name in records, and its cluster's.
    pub ak: String,
    /// How it behaves until the faults are over.
    pub temper: Temper,
    /// How long a callback may take, milliseconds.
    pub timeout_ms: u64,
}

/// One CDR that Huawei will push.
#[derive(Clone, Debug)]
pub struct Cdr {
    /// Which application's.
    pub application: usize,
    /// JSON.
    pub text: String,
    /// When the call ended, milliseconds of virtual time.
    pub at: u64,
    /// The call, if the CDR can be used.
    pub call: Option<Call>,
    /// What an operator would have it say, if it cannot.
    pub correction: Option<Correction>,
    /// Whether the store cannot stomach it.
    pub is_poison: bool,
}

/// What a CDR that cannot be used should have been.
#[derive(Clone, Debug)]
pub struct Correction {
    /// JSON.
    pub text: String,
    /// Its call; another CDR may bring it as well.
    pub call: Call,
}

/// One binding.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Its `subscriptionId`.
    pub id: String,
    /// Whose it is.
    pub ak: String,
    /// Its row.
    pub row: Value,
    /// When it is registered, milliseconds of virtual time; 0 before everything, `None` never.
    pub comes_at: Option<u64>,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its id in the store and at the business.
    pub id: String,
    /// Its `sessionId`.
    pub session_id: String,
    /// Whom it belongs to as long as its binding is not registered.
    pub ak: Option<String>,
    /// Its binding, by number.
    pub binding: Option<usize>,
}

/// One Huawei application.
#[derive(Clone, Debug)]
pub struct Application {
    /// Its `APP_Key`.
    pub app_key: String,
    /// The business of calls without a binding.
    pub ak: Option<String>,
    signer: Rc<Signer>,
}

impl Application {
    /// The headers of a push with that signature.
    ///
    /// # Errors
    /// They cannot be signed.
    pub fn headers(&self, signature: usize) -> Result<Vec<(String, Vec<u8>)>> {
        let nonce = format!("66C92B11FF8A425FB8D4CCFE{signature:08X}");
        let stamp = Stamp::fresh()?.with_nonce(&nonce)?.with_created("2026-01-05T02:30:24Z")?;
        let mut headers = vec![(":method".to_owned(), b"POST".to_vec()), (":path".to_owned(), b"/huawei/fee".to_vec())];
        headers.extend(self.signer.headers(&stamp).map(|(name, value)| (name.to_owned(), value.into_bytes())));
        Ok(headers)
    }
}

/// One configuration an operator may load.
#[derive(Clone, Debug)]
pub struct Variant {
    /// As the filter reads it.
    pub config: Rc<Config>,
    /// The businesses it knows and how many callbacks of each may be under way.
    pub concurrency: Vec<(String, usize)>,
    /// The applications whose calls without a binding are skipped.
    pub skips: Vec<String>,
    /// Whether the CDRs of replays are parked.
    pub parks_replays: bool,
}

/// Envoy's route to the store, as the shipped configuration has it.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// How often a push is tried at most.
    pub tries: u32,
    /// How long one try may take, milliseconds.
    pub try_ms: u64,
    /// How long all tries together may take, milliseconds.
    pub total_ms: u64,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Scenario {
    /// For each gateway the number of its workers.
    pub gateways: Vec<usize>,
    /// Whom to call back.
    pub businesses: Vec<Business>,
    /// Who pushes.
    pub applications: Vec<Application>,
    /// What is pushed.
    pub cdrs: Vec<Cdr>,
    /// Bindings that CDRs name.
    pub bindings: Vec<Binding>,
    /// The configurations; the first is the one all begin with.
    pub variants: Vec<Variant>,
    /// The route to the store.
    pub route: Route,
    /// How many CDRs Huawei puts into one push at most.
    pub batch: usize,
    /// From here on nothing goes wrong any more, milliseconds of virtual time.
    pub faults_end: u64,
    /// Until then the store fails even where a poison push comes alone, milliseconds of virtual time.
    pub poison_until: u64,
    /// An answer to a batch of more pushes than this is beyond Envoy's limit, while faults strike.
    pub answer_pushes: usize,
    /// Whether bodies are so large and slow that memory runs short.
    pub is_crowded: bool,
}

impl Scenario {
    /// Draws the scenario of `seed`. Whatever the store is to tell apart carries the seed, so that runs may share a store.
    ///
    /// # Errors
    /// A drawn configuration is not accepted.
    pub fn draw(seed: u64, random: &mut Random) -> Result<Self> {
        let gateways = (0..random.between(1, 3)).map(|_| random.pick([1, 1, 2])).collect();
        let businesses: Vec<_> = (0..random.between(1, 3)).map(|number| business(number, random)).collect();
        let applications = (0..random.pick([1, 1, 2]))
            .map(|number| application(seed, number, &businesses, random))
            .collect::<Result<Vec<_>>>()?;
        let span = random.pick([0, 2_000, 60_000, 600_000]);
        let bindings = bindings(seed, span, &businesses, random);
        let count = if random.chance(30) { random.between(50, 90) } else { random.between(3, 16) };
        let is_crowded = random.chance(40);
        let count = if is_crowded { random.between(80, 120) } else { count };
        let gateways = if is_crowded { vec![1] } else { gateways };
        let mut cdrs: Vec<_> =
            (0..count).map(|number| cdr(seed, number, span, &applications, &bindings, random)).collect();
        correct_to_others(&mut cdrs, random);
        if is_crowded {
            for cdr in &mut cdrs {
                let padding = format!(r#"{{"padding":"{}","#, "x".repeat(17_000));
                cdr.text.replace_range(..1, &padding);
                cdr.at = 0;
            }
        }
        if random.chance(150) {
            let index = random.index(cdrs.len());
            if let Some(cdr) = cdrs.get_mut(index) {
                cdr.is_poison = true;
            }
        }
        let variants =
            (0..3).map(|_| variant(&applications, &businesses, is_crowded, random)).collect::<Result<Vec<_>>>()?;
        let route = Route { tries: random.pick([1, 3]), try_ms: 2_000, total_ms: 5_000 };
        let batch = if is_crowded {
            6
        } else if count >= 50 {
            50
        } else {
            usize::try_from(random.between(1, 8)).unwrap_or(1)
        };
        let faults_end = span + random.pick([5_000, 90_000, 900_000, 10_800_000, 21_600_000]);
        let poison_until = faults_end * random.between(0, 2) / 2;
        let answer_pushes = random.pick([1, 2, 4]);
        Ok(Self {
            gateways,
            businesses,
            applications,
            cdrs,
            bindings,
            variants,
            route,
            batch,
            faults_end,
            poison_until,
            answer_pushes,
            is_crowded,
        })
    }

    /// The call of that id, if there is one.
    pub fn call(&self, call_id: &str) -> Option<&Call> {
        self.calls().find(|call| call.id == call_id)
    }

    /// All calls that may come of a CDR, as it is or corrected.
    fn calls(&self) -> impl Iterator<Item = &Call> {
        self.cdrs.iter().flat_map(|cdr| cdr.call.iter().chain(cdr.correction.iter().map(|correction| &correction.call)))
    }

    /// Their ids, each once.
    pub fn call_ids(&self) -> Vec<String> {
        let ids: BTreeSet<_> = self.calls().map(|call| call.id.clone()).collect();
        ids.into_iter().collect()
    }

    /// Whether the call's binding is there from the beginning.
    pub fn is_bound_early(&self, call: &Call) -> bool {
        let binding = call.binding.and_then(|index| self.bindings.get(index));
        binding.is_some_and(|binding| binding.comes_at == Some(0))
    }

    /// The business of that cluster.
    pub fn business(&self, ak: &str) -> Option<&Business> {
        self.businesses.iter().find(|business| business.ak == ak)
    }
}

fn business(number: u64, random: &mut Random) -> Business {
    let temper = match random.between(0, 5) {
        0 => Temper::Slow,
        1 => Temper::Dead,
        _ => Temper::Good,
    };
    Business { ak: format!("business-{number}"), temper, timeout_ms: random.pick([200, 1_000, 5_000]) }
}

fn application(seed: u64, number: u64, businesses: &[Business], random: &mut Random) -> Result<Application> {
    let app_key = format!("app{number}-{seed:x}");
    let signer = Signer::new(Scheme::Aksk, &app_key, &Private::from(secret(&app_key).as_str()))?;
    // A business that no binding and no configuration knows now and then.
    let ak = match random.between(0, 9) {
        0 => None,
        1 => Some("business-of-nobody".to_owned()),
        _ => businesses.get(random.index(businesses.len())).map(|business| business.ak.clone()),
    };
    Ok(Application { app_key, ak, signer: Rc::new(signer) })
}

fn secret(app_key: &str) -> String {
    format!("fictitious-secret-of-{app_key}")
}

fn bindings(seed: u64, span: u64, businesses: &[Business], random: &mut Random) -> Vec<Binding> {
    (0..random.between(0, 4))
        .filter_map(|number| {
            let ak = businesses.get(random.index(businesses.len()))?.ak.clone();
            let id = format!("binding-{seed:x}-{number}");
            let row = json!({"id": number, "ak": ak, "privateNum": "+8617010000001", "status": 1});
            let comes_at = match random.between(0, 9) {
                0..=4 => Some(0),
                // Most come while calls of theirs may wait.
                5..=8 => Some(span * random.between(0, 4) / 4 + random.pick([1, 700, 4_000, 30_000, 400_000])),
                _ => None,
            };
            Some(Binding { id, ak, row, comes_at })
        })
        .collect()
}

fn cdr(
    seed: u64,
    number: u64,
    span: u64,
    applications: &[Application],
    bindings: &[Binding],
    random: &mut Random,
) -> Cdr {
    let index = random.index(applications.len());
    let (app_key, ak) =
        applications.get(index).map(|known| (known.app_key.clone(), known.ak.clone())).unwrap_or_default();
    // Calls of one chain share the session id and differ in their icid.
    let session_id = format!("session-{seed:x}-{}", number / 2);
    let icid = format!("icid-{number}");
    let mut cdr = json!({
        "direction": random.between(0, 1), "spId": "sp", "appKey": app_key, "sessionId": session_id, "icid": icid,
        "bindNum": "+8617010000001", "callerNum": "+8617010000011", "fwdDstNum": "+8617010000022",
        "callInTime": "2026-01-05 02:30:03", "callEndTime": "2026-01-05 02:30:22",
    });
    let binding = Some(random.index(bindings.len() + 1)).filter(|_| random.chance(600));
    let binding = binding.filter(|binding| *binding < bindings.len());
    if let Some(known) = binding.and_then(|binding| bindings.get(binding)) {
        set(&mut cdr, "subscriptionId", json!(known.id));
    }
    let good = cdr.to_string();
    let is_bad = random.chance(150);
    if is_bad {
        match random.between(0, 3) {
            0 => set(&mut cdr, "sessionId", json!([session_id])),
            1 => set(&mut cdr, "subscriptionId", json!({})),
            2 => set(&mut cdr, "appKey", json!("app-of-somebody-else")),
            _ => set(&mut cdr, "appKey", json!("")),
        }
    } else if number.is_multiple_of(7) {
        // What cannot be used costs no call.
        set(&mut cdr, "direction", json!(7));
        set(&mut cdr, "bindNum", json!(""));
        set(&mut cdr, "callInTime", json!(1_767_580_203));
    }
    let key = CallKey { app_key: &app_key, session_id: Private::new(session_id.as_str()), icid: &icid };
    let call = Call { id: key.id(), session_id: session_id.clone(), ak, binding };
    let (call, correction) = if is_bad { (None, Some(Correction { text: good, call })) } else { (Some(call), None) };
    // Calls end in bunches, so that pushes hold several.
    let at = span * random.between(0, 3) / 3;
    Cdr { application: index, text: cdr.to_string(), at, call, correction, is_poison: false }
}

/// Operators correct some CDRs to what another CDR says, too.
fn correct_to_others(cdrs: &mut [Cdr], random: &mut Random) {
    let others: Vec<_> = cdrs.iter().map(|cdr| Some((cdr.application, cdr.text.clone(), cdr.call.clone()?))).collect();
    for cdr in cdrs.iter_mut().filter(|cdr| cdr.correction.is_some()) {
        let other = others.get(random.index(others.len())).cloned().flatten();
        if let Some((_, text, call)) = other.filter(|(application, ..)| *application == cdr.application)
            && random.chance(400)
        {
            cdr.correction = Some(Correction { text, call });
        }
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

fn variant(
    applications: &[Application],
    businesses: &[Business],
    is_crowded: bool,
    random: &mut Random,
) -> Result<Variant> {
    let mut known = Vec::new();
    let mut concurrency = Vec::new();
    let mut slowest_ms = 0;
    for business in businesses {
        // An operator may not know a business, or no longer.
        if random.chance(80) {
            continue;
        }
        let most = random.pick([1, 2, UNBOUNDED, UNBOUNDED]);
        concurrency.push((business.ak.clone(), most));
        // What could not be called back while its claims last would be refused.
        let pending = random.pick([50, 4_000]);
        let longest_ms = |pending: u64| pending / most as u64 * business.timeout_ms;
        let pending = if longest_ms(pending) > 900_000 { 50 } else { pending };
        slowest_ms = slowest_ms.max(longest_ms(pending));
        known.push(json!({
            "ak": business.ak, "cluster": business.ak, "authority": "business.example.com", "path": "/callback",
            "timeout_ms": business.timeout_ms, "concurrency": most, "pending_calls": pending,
        }));
    }
    let mut skips = Vec::new();
    let applications: Vec<_> = applications
        .iter()
        .map(|application| {
            let without_binding = match random.between(0, 9) {
                0 | 1 => {
                    skips.push(application.app_key.clone());
                    json!("skip")
                }
                2..=4 => json!({"hold_seconds": random.pick([1, 5, 60, 600])}),
                _ => json!("deliver"),
            };
            json!({
                "app_key": application.app_key, "ak": application.ak, "secrets": [{"value": secret(&application.app_key)}],
                "without_binding": without_binding,
            })
        })
        .collect();
    let bytes = if is_crowded { 1_048_576 } else { 67_108_864 };
    let parks_replays = random.chance(300);
    let config = json!({
        "authentication": {"replay": if parks_replays { "park" } else { "report" }},
        "headers": random.pick(["hold", "hold", "pass"]),
        "applications": applications,
        "businesses": known,
        "store": {
            "timeout_ms": random.pick([1_000, 5_000]),
            "push_timeout_ms": random.pick([500, 1_500]),
            "push_batch_size": random.pick([1, 3, 16]),
            "push_batch_delay_ms": random.pick([1, 2, 5]),
            "claim_deadline_seconds": if slowest_ms > 60_000 { 900 } else { random.pick([60, 900]) },
            "outcome_batch_size": random.pick([1, 3, 100]),
            "outcome_batch_delay_ms": random.pick([1, 5, 2_000]),
            "retry_initial_ms": random.pick([10, 100]),
            "retry_max_ms": random.pick([10_000, 60_000, 600_000]),
            // Often is much, where Huawei takes ten hours.
            "work_interval_ms": random.pick([300_000, 600_000]),
        },
        "limits": {
            "pending_calls": random.pick([50, 10_000]), "pending_bytes": bytes, "max_body_bytes": bytes / 8,
        },
    });
    let text = serde_json::to_vec(&config)?;
    let config = Config::from_json(&text, &|_| None).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        anyhow!("{}", errors.join("; "))
    });
    Ok(Variant {
        config: Rc::new(config.context("a drawn configuration is refused")?),
        concurrency,
        skips,
        parks_replays,
    })
}
