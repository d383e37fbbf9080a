// Command bench measures the gateway beside its peers and its limits, on real
// services on loopback, and prints one table:
//
//	make bench
//	make bench BENCHFLAGS='-run realtime -short'
//
// Every row runs its sides in turn (A B A B …) and reports the median of the
// rounds' ratios. What each row counts is in docs/benchmarks.md.
package main
