//! A client that follows the published list by frames, which may be lost, doubled, reordered and merged, and lists it
//! anew.

use stateright::{Model, Property};

use super::List;

/// The client's list is that of its rev.
pub(super) const LISTED: &str = "a client has the list that was published under its rev";
/// A list that was got anew is not older than the one before.
pub(super) const NEVER_BACK: &str = "a client's rev never goes back";

/// A rule that can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A frame is applied if it follows the client's rev.
    After,
    /// Frames that are not above the client's rev are ignored.
    IgnoreOld,
    /// Frames that came since the first page are applied over the pages.
    OverPages,
    /// Frames are merged only if one follows the other.
    MergeFollowing,
}

/// A scenario that is searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Following {
    /// The number of publications.
    pub(super) revs: u8,
    pub(super) without: Option<Rule>,
}

/// The data that is told of each subject, if any is.
type Facts = [Option<u8>; 2];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Out,
    /// It asks for the pages, each of one subject.
    Listing(Listing),
    In,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Listing {
    /// The first page's rev, and then that of the frames that came since.
    rev: Option<u8>,
    /// Pages that arrived.
    pages: Facts,
    /// A page on its way: its rev, and its content.
    reply: Option<(u8, u8)>,
    /// The facts of frames since the first page.
    over: Facts,
    /// The newest page's rev.
    newest: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Room {
    /// The list of each rev: the first is that of the empty room.
    history: Vec<List>,
    phase: Phase,
    list: List,
    rev: u8,
    /// From this rev on the list is exact: its pages were of different revs.
    exact_from: u8,
    went_back: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Publish {
        subject: usize,
        data: u8,
    },
    /// The server reads the next page.
    ReadPage,
    /// The page arrives.
    Page,
    /// A frame that stands for all revs after `after`, up to `rev`. It may have been delivered before.
    Frame {
        after: u8,
        rev: u8,
    },
    /// A frame merged of the first and the last of three revs, without the one between (only without the rule).
    TornFrame {
        after: u8,
        rev: u8,
    },
    /// The client joins, or was told of a rev that it does not have.
    List,
}

impl Following {
    fn has(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn follows(self, own: u8, after: u8, rev: u8) -> bool {
        if rev <= own && self.has(Rule::IgnoreOld) {
            return false;
        }
        after == own || !self.has(Rule::After) || (rev <= own && after < own)
    }

    fn frame(self, room: &mut Room, after: u8, rev: u8, facts: Facts) {
        match &mut room.phase {
            Phase::Out => {}
            Phase::In => {
                if self.follows(room.rev, after, rev) {
                    room.went_back |= rev < room.rev;
                    room.rev = rev;
                    room.list = over(facts, room.list);
                }
            }
            Phase::Listing(listing) => {
                let Some(own) = listing.rev else { return };
                if self.follows(own, after, rev) {
                    listing.rev = Some(rev);
                    let said = if self.has(Rule::OverPages) { &mut listing.over } else { &mut listing.pages };
                    for (said, fact) in said.iter_mut().zip(facts) {
                        *said = fact.or(*said);
                    }
                }
            }
        }
    }

    fn page(room: &mut Room) {
        let Phase::Listing(listing) = &mut room.phase else { return };
        let Some((rev, fact)) = listing.reply.take() else { return };
        let page = listing.page();
        listing.pages[page] = Some(fact);
        listing.rev.get_or_insert(rev);
        listing.newest = rev;
        let listing = *listing;
        if page == 1 {
            let own = listing.rev.unwrap_or_default();
            room.went_back |= own < room.rev;
            room.rev = own;
            room.exact_from = listing.newest;
            room.list = over(listing.over, over(listing.pages, [0; 2]));
            room.phase = Phase::In;
        }
    }
}

impl Listing {
    /// The page that is asked for: the first one until it has arrived and set the rev.
    fn page(&self) -> usize {
        usize::from(self.rev.is_some())
    }
}

fn over(facts: Facts, list: List) -> List {
    [facts[0].unwrap_or(list[0]), facts[1].unwrap_or(list[1])]
}

impl Room {
    fn newest(&self) -> u8 {
        u8::try_from(self.history.len() - 1).unwrap()
    }

    /// The changes of one rev.
    fn change(&self, rev: u8) -> Facts {
        let (before, list) = (self.history[usize::from(rev) - 1], self.history[usize::from(rev)]);
        [0, 1].map(|subject| (before[subject] != list[subject]).then_some(list[subject]))
    }

    /// The facts of some revs together: the last fact of each subject.
    fn merged(&self, revs: impl Iterator<Item = u8>) -> Facts {
        revs.fold([None; 2], |facts, rev| {
            let change = self.change(rev);
            [change[0].or(facts[0]), change[1].or(facts[1])]
        })
    }
}

impl Model for Following {
    type State = Room;
    type Action = Action;

    fn init_states(&self) -> Vec<Room> {
        let history = vec![[0; 2]];
        vec![Room { history, phase: Phase::Out, list: [0; 2], rev: 0, exact_from: 0, went_back: false }]
    }

    fn actions(&self, room: &Room, actions: &mut Vec<Action>) {
        let newest = room.newest();
        if newest < self.revs {
            for (subject, listed) in room.history[usize::from(newest)].iter().enumerate() {
                actions.extend((0..3).filter(|data| data != listed).map(|data| Action::Publish { subject, data }));
            }
        }
        for rev in 1..=newest {
            actions.extend((0..rev).map(|after| Action::Frame { after, rev }));
            if rev > 2 && !self.has(Rule::MergeFollowing) {
                actions.push(Action::TornFrame { after: rev - 3, rev });
            }
        }
        match room.phase {
            Phase::Listing(listing) if listing.reply.is_some() => actions.push(Action::Page),
            Phase::Listing(_) => actions.push(Action::ReadPage),
            Phase::In if room.rev == newest => {}
            Phase::In | Phase::Out => actions.push(Action::List),
        }
    }

    fn next_state(&self, room: &Room, action: Action) -> Option<Room> {
        let mut room = room.clone();
        match action {
            Action::Publish { subject, data } => {
                let mut list = room.history[usize::from(room.newest())];
                list[subject] = data;
                room.history.push(list);
            }
            Action::List => room.phase = Phase::Listing(Listing::default()),
            Action::ReadPage => {
                let newest = room.newest();
                let list = room.history[usize::from(newest)];
                if let Phase::Listing(listing) = &mut room.phase {
                    listing.reply = Some((newest, list[listing.page()]));
                }
            }
            Action::Page => Self::page(&mut room),
            Action::Frame { after, rev } => {
                let facts = room.merged(after + 1..=rev);
                self.frame(&mut room, after, rev, facts);
            }
            Action::TornFrame { after, rev } => {
                let facts = room.merged([after + 1, rev].into_iter());
                self.frame(&mut room, after, rev, facts);
            }
        }
        Some(room)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(LISTED, |_: &Self, room: &Room| {
                let is_exact = room.phase == Phase::In && room.rev >= room.exact_from;
                !is_exact || room.list == room.history[usize::from(room.rev)]
            }),
            Property::always(NEVER_BACK, |_: &Self, room: &Room| !room.went_back),
        ]
    }
}
