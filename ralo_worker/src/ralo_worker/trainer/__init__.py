"""The trainer: leases batches of rollout trees and uploads their gradient."""
