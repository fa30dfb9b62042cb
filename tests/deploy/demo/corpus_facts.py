"""What is known of single questions of the demo and cannot be computed. Patterns are for lower case on one line."""

from __future__ import annotations

# By question: what would have to stand somewhere if the corpus answered it, and a sentence that would answer it.
WOULD_ANSWER = {
    "q110": (
        r"switchgear[^.]{0,20} (by|of) |(made|supplied|built) (the|its|our) switchgear"
        r"|(works|brothers|company|forge|emmering)[^.]{0,60}switchgear|switchgear[^.]{0,60}(works\b|brothers|emmering)",
        "The switchgear, made by Volk Emmering, came late.",
    ),
    "q111": (
        r"tamsel[^.]{0,80}(carr|takes|may|holds|up to|room for)[^.]{0,30}(passengers|people)"
        r"|(passengers|people)[^.|]{0,40}\b(on|aboard|for) \W*tamsel",
        "Tamsel carries no more than 60 passengers.",
    ),
    "q112": (r"salary|\bwages?\b|superintendent[^.]{0,40}\bmk\b", "The Superintendent has 48,000 mk a year."),
    "q113": (r"insur", "The boats are insured with the Vessen Mutual."),
    "q114": (r"\bknots?\b", "Plover Anne makes eleven knots."),
    "q115": (
        r"tamsel[^.]{0,60}(built|launched)|(built|launched)[^.]{0,60}tamsel",
        "Tamsel was built by Slee Brothers.",
    ),
    "q116": (r"harrowgill[^.]{0,80}(since|appointed|became|took office)", "Neve Harrowgill, Bailiff since 2015."),
    "q117": (
        r"(oral|part b)\b[^.]{0,80}\bfailed\b|\bfailed\b[^.]{0,40}(oral|part b)\b",
        "Of the seven, two failed Part B.",
    ),
    "q118": (r"\bfine (of|is)\b|\bfined\b", "There is a fine of 200 mk."),
    "q119": (
        r"college|universit|institute|osterlane[^.]{0,40}(trained|studied)",
        "Miss Osterlane trained at Marl Cross.",
    ),
    "q120": (r"\b\d+ pages\b", "The Sixth has 44 pages."),
    "q121": (
        r"(goose|geese)[^.]{0,40}(\bmk\b|\d\.\d\d)|(\bmk\b|\d\.\d\d)[^.]{0,30}(goose|geese)",
        "Pigs 0.50, geese 0.10.",
    ),
    "q122": (r"bus driver|driver of the bus|drives the bus", "Old Basker drives the bus."),
    "q123": (r"pigeon[^.]{0,40}(called|named)", "A pigeon, called Admiral."),
    "q124": (r"\bdepth\b|\b(m|metres|fathoms) deep\b|fathom", "It is 9 m deep in the middle."),
    "q206": (
        r"motorcycle[^|]{0,60}month|month[^|]{0,60}motorcycle",
        "A month's pass costs 30.00 for a motorcycle.",
    ),
    "q207": (r"\b(\d+|two|three|four|five|six) eggs\b|clutch of", "She lays three eggs."),
    "q208": (r"fence[^.]{0,60}(high|tall)", "The fence is half a metre high."),
    "q209": (r"preach|minister|pastor|parson|\bpriest|vicar", "Mr Orrel preaches there."),
    "q210": (r"years old|\baged\b|\bborn\b", "Piers Ondaw, aged 61."),
    "q211": (
        r"wickerel[^.]{0,80}(built|launched)|(built|launched)[^.]{0,80}wickerel",
        "The Wickerel was built in 1951.",
    ),
    "q212": (r"\b[\d,]+ visitors\b|visitors (came|last year)", "We had 2,100 visitors."),
    "q213": (r"\bsang\b|\bhymn|\bsong\b", "He sang the Ferryman."),
    "q214": (r"\bwon\b(?!')|winner", "Quarrow won."),
    "q215": (r"\d+ umbrellas", "We had 84 umbrellas."),
    "q216": (r"piano[^.]{0,60}(\bmk\b|paid|toll)", "For the piano he paid two marks."),
    "q217": (r"white post[^.]{0,30}(tall|high)", "The white post is 3 m high."),
}

# By question: where numbers of the kind asked for stand; the group is the number.
WICKEREL_LOAD = (
    r"she takes \W*(\d+) passengers",
    r"wickerel carries no more than \W*(\d+)",
    r"(\w+) passengers and not one more",
)
HETTY_WIND = (r"grey hetty\W+[^.]{0,20}(?:stops|cease to ply) when the mean wind [^.]*?(\d+) m/s",)
TAMSEL_WIND = (r"tamsel\W+(?:stops|shall cease to ply) at (\d+) m/s",)
CHAIN_LIMIT = (r"renew\w*[^.;]{0,60}?(\d+(?:\.\d)?) mm",)
SLIP_GAUGE = (r"(?:reads below|the figure was|down to)\W+(\d\.\d) m\b",)
CAR_TOLL = (
    r"car, driver included \| (\d\.\d\d)",
    r"car with its driver: (\d\.\d\d)",
    r"proposed (\d\.\d\d) for a car",
)
BOOK_MONTHS = (r"good for \W*(\w+) months", r"books of tickets to run for (\w+) months")
SAME_KIND: dict[str, tuple[str, ...]] = {
    "q001": HETTY_WIND,
    "q002": HETTY_WIND,
    "q003": TAMSEL_WIND,
    "q004": TAMSEL_WIND,
    "q005": CHAIN_LIMIT,
    "q006": CHAIN_LIMIT,
    "q007": (r"below (?:its|the) limit for (\w+) minutes", r"before reopening from (\w+) minutes"),
    "q008": (r"no more than (\d+) passengers",),
    "q009": SLIP_GAUGE,
    "q010": SLIP_GAUGE,
    "q011": (r"(\d+) mk a metre",),
    "q012": (r"grid connection \| ([\d,]+)", r"grid connection \| [\d,]+ \| ([\d,]+)"),
    "q013": (r"(\d+) decibels", r"yesterday he wrote (\d+)"),
    "q014": (r"from quarrow (?:mon-sat|sun) [\d:]+ ([\d:]+)", r"(?:\| [\d:]+ ){3}\| ([\d:]+) \|"),
    "q015": (r"from hollin (?:mon-sat|sun) [\d:]+ ([\d:]+)", r"(?:\| [\d:]+ ){2}\| ([\d:]+) \| [\d:]+ \|"),
    "q016": (r"(\d+) for (?:tamsel|grey hetty)",),
    "q017": (r"(?:good for|run for the) (\w+) years",),
    "q018": (r"(?:after|to|at) ([\d,]+) (?:running )?hours",),
    "q019": (r"st\.7 (?:again, )?(\d\d\.\d)",),
    "q020": (r"change every (\d+) hours", r"not every (\d+), on number 1"),
    "q125": WICKEREL_LOAD,
    "q126": WICKEREL_LOAD,
    "q127": (r"mean\b[^.;]{0,60}?(\d+) m/s",),
    "q128": CAR_TOLL,
    "q129": CAR_TOLL,
    "q130": BOOK_MONTHS,
    "q131": BOOK_MONTHS,
    "q132": (r"pays \W*(\d\.\d\d)\W* more", r"supplement of (\d\.\d\d) mk"),
    "q133": (r"from (\d\d:\d\d) a supplement", r"after (\d\d:\d\d) every motor vehicle"),
    "q134": CAR_TOLL,
    "q135": (r"pairs (\d+) (\d+) (\d+)",),
    "q136": (r"(\d+) millimetres",),
    "q137": (r"came to (\d+) kg", r"your old one was (\d+)", r"scooter of no more than (\d+) kg"),
    "q138": (r"(two hundred and \w+) turns", r"it was (two hundred and \w+) with"),
    "q139": (r"from 1 \w+ to \d+ \w+ [\d:]+ to (\d\d:\d\d)",),
    "q140": (r"entry (\d\.\d\d) mk", r"the fee is (\d+(?:\.\d\d)?) mk"),  # another fee: the museum has but one
}
# By question: the general rule as it stands in the source. Who answers by it answers wrongly.
GENERAL_RULE = {
    "q021": r"stops when the mean wind over ten minutes at the hollin mast reaches 17 m/s",
    "q022": r"no vehicle above 18 tonnes boards [^.]*limit is 22 tonnes[^.]*",
    "q023": r"takes \W*no vehicle over 3\.5 tonnes",
    "q024": r"a vehicle above 9 tonnes is not taken on or off at quarrow while the hollin gauge reads below 0\.6 m",
    "q025": r"25 december: no service",
    "q026": r"wednesdays, the 06:15, the 06:45 and the 07:15[^#]*no booking, no boat",
    "q027": r"anything that bears a diamond label travels on tuesday and friday only[^.]*",
    "q028": r"no labelled vehicle crosses on tamsel since she became electric",
    "q029": r"hours logged at the controls under a master's eye: 480 for grey hetty, 300 for tamsel",
    "q030": r"for each working day of delay the forge allows the authority 350 mk[^.]*",
    "q031": r"you need: the brass caliper",
    "q032": r"are 18 or older on the day you start",
    "q033": r"salt stays in the shed: [^.]*",
    "q034": r"it outranks everyone, [^.]*",
    "q035": r"two ferries' crews swapping for half a shift [^.]*\. forbidden since 2016",
    "q141": r"sight: \W*60 m\W+ if you cannot see the white post on the other side, you cannot see",
    "q142": r"no motor vehicle, and you need not argue",
    "q143": r"you stop for your dinner from 12:30 to 13:15",
    "q144": r"after 21:00 every motor vehicle pays \W*1\.00\W* more",
    "q145": r"in between they are visitors",
    "q146": r"most things \.+ 60 days",
    "q147": r"on sundays the bell shall not be rung before ten o'clock in the forenoon",
    "q148": r"the same code",
    "q149": r"no dogs on the spit in those weeks[^:]*",
    "q150": r"serves one crossing for one year",
    "q151": r"eleven hours between shifts is the rule",
    "q152": r"travels free on school days until 18:00\. after six, and on saturdays, she pays the child's toll",
}
