package sqlitebus

// SeesOthers is whether an end knows that it is alone.
const SeesOthers = true
