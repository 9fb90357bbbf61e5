package dataset

// DefaultLimits are those that hold where a field of Limits is zero.
func DefaultLimits() Limits { return Limits{}.withDefaults() }
