package tree

// Tick is tick.
const Tick = tick

// Len tells how many files are known.
func (s *Stats) Len() int { return len(s.known) }
