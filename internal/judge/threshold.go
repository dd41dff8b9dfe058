package judge

import "hearth"

// met reports whether a reading meets a threshold.
func met(c hearth.Condition, v hearth.Value) bool { return holds(c.Operator, v, c.Value) }

// ended reports whether a reading is on the harmless side of a threshold.
func ended(c hearth.Condition, v hearth.Value) bool {
	limit := c.Value
	if c.ClearValue != nil {
		limit = *c.ClearValue
	}
	return !holds(c.Operator, v, limit)
}

// holds reports whether a is in a relation to b. Values of different types are in none.
func holds(o hearth.Operator, a, b hearth.Value) bool {
	if a.Kind() != b.Kind() {
		return false
	}
	switch o {
	case hearth.Greater:
		return a.Number() > b.Number()
	case hearth.GreaterOrEqual:
		return a.Number() >= b.Number()
	case hearth.Less:
		return a.Number() < b.Number()
	case hearth.LessOrEqual:
		return a.Number() <= b.Number()
	case hearth.Equal:
		return a == b
	case hearth.NotEqual:
		return a != b
	}
	return false
}
