// Package build makes images of Dockerfiles. BuildKit's own front end says what a
// Dockerfile means: it asks for graphs of operations (LLB), and the solver here runs them, on the
// engine's layers and by its runtime.
//
// The way of a build:
//
//	build.go     a request: contexts, the front end, what becomes of the result
//	bridge.go    what the front end asks of us: solve a graph, read a file, find an image's config
//	graph.go     a graph's vertices, from its definition
//	solve.go     runs what a result needs: all that is independent at once, a shared vertex once
//	key.go       what the outcome of a vertex depends on, as one digest
//	cache.go     keys → outcomes, on disk; what they hold is held
//	op*.go       a kind of vertex each: source, exec, file, merge, diff
//	contexts.go  contexts as layers, what is known of their files; filerun.go, former.go, unpack.go, gitrun.go: how ops do it
//	export*.go   what becomes of the result: an image, files, archives, a registry
//	cacheimport.go, cacheexport.go, cachestore.go   caches of others, in folders and registries
//	usage.go, collect.go   what the cache holds; it is pruned when asked, and made smaller by rules
//	until.go     how old a step's files are: a step gives the same bytes whenever it runs
//	verify.go, squash.go, steps.go, explain.go   --verify, --squash, run --from-step, --explain-cache
//	progress.go  what is told meanwhile
//
// An outcome is known by its content (the chain id of its layers), and a key is made of the
// operation and the outcomes that it stands on. So there is one kind of key, it is the same on
// any machine, and a step that gives what it gave before changes nothing for those after it.
//
// It knows no HTTP, and no kernel: programs are run by what Deps hands in.
package build
