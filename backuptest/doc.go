// Package backuptest helps to test what is plugged into package backup: the
// conformance suites for stores ([TestStore], [CheckStore]) and for locations
// ([TestLocation], [CheckLocation]), references for tests of a host ([MapStore],
// [MapLocation]), ones that fail on command ([Faulty], [FaultyLocation]), and the
// frozen test vectors of the snapshot format ([Vectors]).
//
// Whoever writes a [backup.DataSource] or [backup.Sink] runs [TestStore] on it,
// and whoever writes a [backup.Location] runs [TestLocation].
package backuptest
