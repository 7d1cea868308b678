// Package backuptest helps to test what is plugged into package backup: the
// conformance suite for stores ([TestStore], [CheckStore]), a reference store
// for tests of a host ([MapStore]), one that fails on command ([Faulty]), and
// the frozen test vectors of the snapshot format ([Vectors]).
//
// Whoever writes a [backup.DataSource] or [backup.Sink] runs [TestStore] on it.
package backuptest
