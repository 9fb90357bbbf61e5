package dimse

// DefaultTimeouts are the deadlines that hold where a field of Timeouts is zero.
func DefaultTimeouts() Timeouts { return Timeouts{}.withDefaults() }

// DefaultLimits are those that hold where a field of Limits is zero.
func DefaultLimits() Limits { return Limits{}.withDefaults() }
