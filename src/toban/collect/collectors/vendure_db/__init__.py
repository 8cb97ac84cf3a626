"""The collector `vendure_db`: orders, payments, jobs and stock, from Vendure's tables."""
