package layer

// Work is a layer on its way: a folder on top of layers that a step of a build writes to. It ends
// with Commit or Discard.
type Work struct {
	store *Store
	dir   string // upper and work
	top   string
}
