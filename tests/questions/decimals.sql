SELECT amount_usd * 1.21, amount_usd + 0.005, amount_usd - 1, -amount_usd FROM invoices ORDER BY invoice_id LIMIT 50;

SELECT SUM(amount_usd * 0.853701) FROM invoices;

SELECT SUM(d), MIN(d), MAX(d), SUM(d) * 3 FROM numbers;

SELECT d * d, d + i FROM numbers WHERE i < 10 ORDER BY i;

SELECT SUM(w), MAX(w) FROM numbers;

SELECT CAST(SUM(d) AS VARCHAR) FROM numbers;

SELECT i FROM numbers ORDER BY i NULLS LAST;

SELECT i - 1 FROM numbers WHERE i > 5;

SELECT CAST(amount_usd AS DECIMAL(20, 4)) AS a, CAST(amount_usd AS DECIMAL(14, 1)) AS b, CAST(amount_usd AS VARCHAR) AS c FROM invoices ORDER BY invoice_id LIMIT 60;

SELECT CAST('12345678901234567890.123456789' AS DECIMAL(38, 9));

SELECT CAST(1.005 AS DECIMAL(10, 2)), CAST(-1.005 AS DECIMAL(10, 2)), CAST('42' AS BIGINT);

SELECT ROUND(amount_usd, 1), ROUND(amount_usd), ABS(amount_usd) FROM invoices ORDER BY invoice_id LIMIT 60;

SELECT FLOOR(amount_usd), CEIL(amount_usd) FROM invoices ORDER BY invoice_id LIMIT 60;

SELECT ROUND(SUM(amount_usd) * 0.19, 2) FROM invoices;

SELECT 0.1 + 0.2, 0.1 * 3, 1.10 - 1, 2 * 3.50, 100 * 1.15;

SELECT 0.1 + 0.2 = 0.3, 1.0 = 1, 1.10 = 1.1;

SELECT 99999999999999999999 + 1, 12345678901234567890.5 * 2;

SELECT invoice_id % 7, invoice_id * 3 - 2 FROM invoices ORDER BY invoice_id LIMIT 20;

SELECT -7 % 3, 7 % -3, -7.5 % 2;

SELECT COUNT(*) FROM invoices WHERE amount_usd = 100;

SELECT COUNT(*) FROM invoices WHERE amount_usd = '100.00';

SELECT COUNT(*) FROM invoices WHERE amount_usd > 100.001;

SELECT COUNT(*) FROM invoices WHERE amount_usd IN (100, 0.01);

SELECT COUNT(*) FROM invoices WHERE amount_usd BETWEEN 0.01 AND 100.00;

SELECT COUNT(*) FROM invoices WHERE issuer_id = '7';

SELECT COUNT(*) FROM invoices WHERE invoice_id BETWEEN 10 AND 20.5;

SELECT SUM(CAST(amount_usd AS DOUBLE)) FROM invoices;

SELECT SQRT(4), POWER(2, 10), EXP(0), LN(1);

SELECT CAST(1 AS DOUBLE) / 3, CAST(0.1 AS DOUBLE) + CAST(0.2 AS DOUBLE);

SELECT CAST(15413466.70 AS DOUBLE), CAST('1e300' AS DOUBLE), CAST('1e-7' AS DOUBLE);

SELECT SUM(credit_limit), AVG(credit_limit), COUNT(credit_limit) FROM customers;

SELECT credit_limit / 4, amount_usd / 3.0 FROM customers JOIN invoices ON invoice_id = customer_id WHERE credit_limit IS NOT NULL;

SELECT SUM(r.rating.score), AVG(r.rating.score) FROM ratings r;

SELECT TRY_CAST('x' AS BIGINT), TRY_CAST('1.5' AS DECIMAL(5, 2)), TRY_CAST('2026-02-30' AS DATE);

SELECT SUM(total_amount_issued) * 0.021 FROM business_last_n_months;

SELECT COALESCE(receiver_id, 0) + 1 FROM invoices ORDER BY invoice_id LIMIT 40;

SELECT NULL + 1, NULL = NULL, NULL IS NULL, 1 <> NULL;

SELECT TRUE AND NULL, FALSE AND NULL, TRUE OR NULL, NOT NULL;

SELECT 9223372036854775807, -9223372036854775807;

SELECT CAST(9223372036854775807 AS DECIMAL(38, 0)) + 1;
