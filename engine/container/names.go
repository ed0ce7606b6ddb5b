package container

import (
	"crypto/rand"
	"strconv"
	"strings"

	"lighter/api"
)

// The words of invented names: a temper, and somebody who thought, sailed or built.
// Names match [a-z]+_[a-z]+.
var (
	tempers = strings.Fields(`able agile airy alert amber amiable ample apt ardent astute awake balmy bold brave
		breezy brief bright brisk broad bubbly calm candid careful casual cheerful civil classy clear clever
		cosmic cosy crafty crisp curious dapper daring decent deft dreamy eager earnest easy elated elegant
		fair famous fearless festive fine firm fleet fond frank free fresh friendly frosty fruity gallant
		generous gentle giddy gifted glad golden grand great happy hardy hearty helpful honest hopeful humble
		jolly jovial joyful just keen kind lasting lavish lively loyal lucid lucky mellow merry mighty mild
		modest musing neat nifty nimble noble patient peaceful playful polite prompt proud quick quiet radiant
		ready robust rosy rustic sage serene sharp shiny silent silky simple smart smooth snug sober solid
		spry stately steady sterling stoic strong sturdy subtle sunny sweet swift tactful tender thrifty tidy
		tranquil trusty upbeat valiant velvet vivid warm wary wise witty zealous zesty`)
	surnames = strings.Fields(`abel adams agnesi airy alder alhazen ampere anning apgar archer archimedes aryabhata
		avogadro babbage bacon banach banks barents bayes bell bering bernoulli bessel blackwell bohr boole born
		bose boyle bragg brahe brahmagupta brunel cabot cantor carson cartier cassini cauchy cavendish celsius
		chandra chebyshev clarke clausius columbus cook copernicus coulomb cousteau crick curie cuvier dalton
		darwin davis dedekind descartes dijkstra diophantus dirac dirichlet doppler drake earhart eiffel einstein
		elion eratosthenes erdos eriksson euclid euler faraday fermat fermi feynman fibonacci fleming foucault
		fourier franklin fresnel galileo galois gauss germain gibbs goddard godel goeppert goodall gutenberg
		halley hamilton harrison herschel hertz hilbert hodgkin hooke hopper hubble hudson humboldt huygens
		hypatia jacobi joliot joule kelvin kepler khayyam khwarizmi kirchhoff kovalevskaya lagrange lamarr landau
		laplace lavoisier leavitt leeuwenhoek legendre leibniz lister lovelace magellan marconi markov maury
		maxwell mayer mcclintock meitner mendel mendeleev mercator moore morse nansen napier nash newton
		nightingale nobel noether ohm ostrom pascal pasteur pauli payne perlman planck poincare poisson polo
		ptolemy pythagoras raman ramanujan riemann ritchie rontgen rubin rutherford sanger shannon snell somerville
		stevin swartz tasman tesla thales torricelli turing vespucci volta wallis watt wegener wright wu yonath
		zeno zheng zuse`)
)

func pick(words []string) string {
	var b [4]byte
	rand.Read(b[:]) // never fails
	n := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
	return words[n%uint32(len(words))]
}

// invent reserves an invented name for an id: six tries, all but the first with a
// digit, then the short id.
func (x *index) invent(id string) (string, error) {
	for try := range 6 {
		name := pick(tempers) + "_" + pick(surnames)
		if try > 0 {
			name += strconv.Itoa(int(id[try]) % 10)
		}
		if _, ok := x.reserve(name, id); ok {
			return name, nil
		}
	}
	return short(id), x.claim(short(id), id)
}

// claim reserves a name that was asked for. It may come with Docker's leading slash.
func (x *index) claim(name, id string) error {
	bare := strings.TrimPrefix(name, "/")
	if !validName(bare) {
		return api.Errorf(api.Invalid, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	if holder, ok := x.reserve(bare, id); !ok {
		return api.Errorf(api.Conflict, "Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+bare, holder)
	}
	return nil
}

// validName reports whether a name is [a-zA-Z0-9][a-zA-Z0-9_.-]+.
func validName(name string) bool {
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return len(name) >= 2
}
