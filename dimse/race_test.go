//go:build race

package dimse

// raceEnabled makes slow tests smaller: the race detector makes them slower.
const raceEnabled = true
