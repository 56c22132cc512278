"""What machines share: permits and answers, served by one process of a cluster to the others."""
