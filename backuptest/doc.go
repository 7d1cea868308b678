// Package backuptest helps to test what a host plugs into package backup:
//
//   - Conformance suites check stores ([TestStore], [CheckStore]) and locations
//     ([TestLocation], [CheckLocation]) and print each rule that is broken.
//   - [MapStore] and [MapLocation] are reference implementations in memory, for the
//     tests of a host. [RuledStore] keeps rules as a database does: unique values,
//     references, triggers.
//   - [Faulty] and [FaultyLocation] pass calls on and fail at a chosen call.
//   - [Vectors] are the frozen test vectors of the snapshot format.
//
// Run [TestStore] on your own [backup.DataSource] and [backup.Sink], and
// [TestLocation] on your own [location.Location].
package backuptest
