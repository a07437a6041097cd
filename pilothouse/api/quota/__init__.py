"""What objects count for against ResourceQuotas: the rules that admission and the quota controller share."""
