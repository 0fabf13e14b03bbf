//! What each command does with a rotation that is open, strategy by strategy.

use super::cuts::Case;
use super::*;

const ON: &str = "goes on";
const BACK: &str = "goes back";
const ANEW: &str = "begins a bridge";
const OTHER_INPUTS: &str = "a rotation with other inputs is open since then (strategy S)";
const MENDS: &str = "a rotation (strategy S) is open since then, and mends what is published when it goes on";
const NEEDED: &str = "nothing was retired: S is open";
const WAY_BACK: &str = "nothing to go back to: the last one was a S, which is the way back itself";
const TOO_LATE: &str = "no strategy is safe here: abort: operator dapr-system/operator, placement";

/// To the same command, to a renewal with other inputs, to `--resume`, `--abort`, `restore` and `prune`, as long as
/// nothing is published.
const TABLE: [(Strategy, [&str; 6]); 8] = [
    (Strategy::Issuer, [ON, OTHER_INPUTS, ON, BACK, MENDS, NEEDED]),
    (Strategy::SameKey, [ON, OTHER_INPUTS, ON, BACK, MENDS, NEEDED]),
    (Strategy::Bridge, [ON, OTHER_INPUTS, ON, BACK, MENDS, NEEDED]),
    (Strategy::Append, [ON, OTHER_INPUTS, ON, BACK, MENDS, NEEDED]),
    (Strategy::Replace, [ON, OTHER_INPUTS, ON, BACK, MENDS, NEEDED]),
    (Strategy::Abort, [ON, OTHER_INPUTS, ON, ON, MENDS, NEEDED]),
    (Strategy::Restore, [ON, OTHER_INPUTS, ON, WAY_BACK, ON, NEEDED]),
    (Strategy::Prune, [ON, ANEW, ON, BACK, MENDS, ON]),
];

fn commands(case: &Case) -> [(Option<Ask>, Request); 6] {
    let other = || Request { digest: "other".to_owned(), ..request(Inputs::Fresh, 90) };
    let [renew, resume, abort, restore] =
        [Ask::Renew, Ask::Resume, Ask::Abort, Ask::Restore].map(|ask| (Some(ask), other()));
    [(case.ask, case.request.clone()), renew, resume, abort, restore, (None, other())]
}

fn answer(open: &Case, ask: Option<Ask>, request: Request) -> String {
    let mut case = Case { ask, request, ..open.clone() };
    let before = case.mesh.recorded().unwrap().goal;
    if let Err(why) = case.run() {
        assert_eq!(case.mesh.writes, open.mesh.writes, "{why}");
        return why.to_string().replace(&before.began.to_string(), "then").replace(case.strategy.word(), "S");
    }
    let record = case.mesh.recorded().unwrap();
    assert_eq!((record.status, case.mesh.invented), (Status::Done, open.mesh.invented));
    match record.goal.strategy {
        strategy if (strategy, record.goal.began) == (open.strategy, before.began) => ON.to_owned(),
        Strategy::Abort => {
            assert_eq!(case.mesh.secret.issuer.chain, before.previous.unwrap().issuer.chain);
            BACK.to_owned()
        }
        strategy => format!("begins a {}", strategy.word()),
    }
}

#[test]
fn what_is_open_goes_on_or_back_or_is_refused_by_name_without_a_write() {
    for (cut, is_published) in [(Cut::Before, false), (Cut::After, true)] {
        for (strategy, answers) in TABLE {
            let mut open = Case::of(strategy, Watcher::Alive);
            open.mesh.cut = Some((open.mesh.steps() + 1, cut));
            open.run().unwrap_err();
            open.mesh.cut = None;
            assert!(open.is_open());
            for ((ask, request), expected) in commands(&open).into_iter().zip(answers) {
                let is_late = is_published && (strategy, ask) == (Strategy::Replace, Some(Ask::Abort));
                let expected = if is_late { TOO_LATE } else { expected };
                let answer = answer(&open, ask, request);
                assert!(answer.starts_with(expected), "{strategy:?}, {ask:?}, {is_published}: {answer}");
            }
        }
    }
}
