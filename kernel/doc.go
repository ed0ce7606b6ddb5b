// Package kernel gives the engine its hands: it implements, on linux/* and runtime, the
// interfaces by which the nouns of engine/* touch the machine, and reads what the
// machine can do. It decides nothing: what is done, and when, the nouns say.
package kernel
